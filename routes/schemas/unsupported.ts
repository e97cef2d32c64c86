// SPDX-License-Identifier: Apache-2.0
/**
 * Unknown fields are ignored, as OpenAI's clients expect. These are known, and an answer that ignored
 * them would be wrong without saying so.
 */
import { refuse } from "./fields.ts";

interface Refusal {
  /** Values that ask for nothing. */
  harmless: (value: unknown) => boolean;
  rule: string;
}

const off = (value: unknown) => value === false;
const empty = (value: unknown) => Array.isArray(value) && value.length === 0;
const never = () => false;

const REFUSALS: Readonly<Record<string, Refusal>> = {
  allowed_token_ids: { harmless: never, rule: "isn't supported: send a grammar" },
  bad_words: { harmless: empty, rule: "isn't supported: send a logit_bias of -100" },
  use_beam_search: { harmless: off, rule: "isn't supported: Sounder samples" },
  truncate_prompt_tokens: {
    harmless: never,
    rule: "isn't supported: Sounder never cuts a prompt; shorten it yourself",
  },
  suffix: { harmless: (value) => value === "", rule: "isn't supported: no model here fills in" },
  chat_template: { harmless: never, rule: "isn't supported: the model's own template is used" },
  web_search_options: { harmless: never, rule: "isn't supported: this server reads no web" },
  include_stop_str_in_output: {
    harmless: off,
    rule: "isn't supported: stop_reason says which stop string it was",
  },
  return_tokens_as_token_ids: { harmless: off, rule: 'isn\'t supported: send "return_token_ids"' },
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
