// SPDX-License-Identifier: Apache-2.0
/**
 * Unknown fields are ignored, as OpenAI's clients expect. These are known, and an answer that ignored
 * them would be wrong without saying so.
 */
import { refuse, show } from "./fields.ts";

interface Refusal {
  /** Values that ask for nothing. */
  harmless: (value: unknown) => boolean;
  rule: string;
}

const off = (value: unknown) => value === false;
const empty = (value: unknown) => Array.isArray(value) && value.length === 0;
const never = () => false;

const CONSTRAINED =
  "isn't supported in this version, which doesn't constrain answers: leave it out";
const constrained: Refusal = { harmless: never, rule: CONSTRAINED };

const REFUSALS: Readonly<Record<string, Refusal>> = {
  response_format: {
    harmless: (value) => (value as { type?: unknown }).type === "text",
    rule: 'must be {"type": "text"}: this version doesn\'t constrain answers to JSON',
  },
  structured_outputs: constrained,
  guided_json: constrained,
  guided_regex: constrained,
  guided_choice: constrained,
  guided_grammar: constrained,
  grammar: { harmless: (value) => value === "", rule: CONSTRAINED },
  json_schema: constrained,
  allowed_token_ids: constrained,
  bad_words: { harmless: empty, rule: CONSTRAINED },
  use_beam_search: { harmless: off, rule: "isn't supported: Sounder samples" },
  truncate_prompt_tokens: {
    harmless: never,
    rule: "isn't supported: Sounder never cuts a prompt; shorten it yourself",
  },
  suffix: { harmless: (value) => value === "", rule: "isn't supported: no model here fills in" },
  chat_template: { harmless: never, rule: "isn't supported: the model's own template is used" },
  audio: { harmless: never, rule: "isn't supported: answers are text" },
  modalities: {
    harmless: (value) => Array.isArray(value) && value.every((mode) => mode === "text"),
    rule: 'must be ["text"]: answers are text',
  },
};

/** Throws a 400 for a field that would change the answer and is not supported. */
export function refuseUnsupported(body: Record<string, unknown>): void {
  for (const [field, { harmless, rule }] of Object.entries(REFUSALS)) {
    if (body[field] != null && !harmless(body[field])) refuse([field], rule);
  }
}

/** Throws a 400 when the model would have to be able to call tools. */
export function refuseTools(body: Record<string, unknown>): void {
  const { tools, tool_choice: choice, functions, function_call: call } = body;
  if (tools != null && !empty(tools) && choice !== "none") {
    refuse(
      ["tools"],
      'aren\'t supported in this version: leave them out or send "tool_choice": "none"',
    );
  }
  if (choice != null && choice !== "none" && choice !== "auto") {
    refuse(["tool_choice"], `must be "none" in this version, not ${show(choice)}`);
  }
  if (functions != null && !empty(functions) && call !== "none") {
    refuse(["functions"], 'aren\'t supported: leave them out or send "function_call": "none"');
  }
}
