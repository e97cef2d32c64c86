// SPDX-License-Identifier: Apache-2.0
/** The four forms of a completion's prompt: text, texts, tokens, lists of tokens. */
import type { ModelInfo } from "../../src/types.ts";
import { refuse, show } from "./fields.ts";
import type { JsonSchema } from "./shown.ts";
import { notInVocabulary } from "./generation.ts";

/** Prompts of one request. */
export const MAX_PROMPTS = 2048;

/** A prompt as it came: text that is still to be encoded, or tokens. */
export type Prompt = string | Int32Array;

/** What {@linkcode parsePrompts} reads. */
export function promptsShown({ vocabulary }: ModelInfo): JsonSchema {
  const token = { type: "integer", minimum: 0, maximum: vocabulary - 1 };
  const tokens = { type: "array", items: token, minItems: 1 };
  const texts = { type: "array", items: { type: "string" }, minItems: 1, maxItems: MAX_PROMPTS };
  const lists = { type: "array", items: tokens, minItems: 1, maxItems: MAX_PROMPTS };
  return { anyOf: [{ type: "string" }, texts, tokens, lists] };
}

/** The prompts, at least one. Loops instead of a schema: a prompt may hold millions of tokens. */
export function parsePrompts(value: unknown, model: ModelInfo, field = "prompt"): Prompt[] {
  if (typeof value === "string") return [value.toWellFormed()];
  if (value == null) refuse([field], "is missing");
  if (!Array.isArray(value) || value.length === 0) {
    refuse([field], `must be a string, tokens, or an array of either, not ${show(value)}`);
  }
  if (typeof value[0] === "number") return [parseTokens(value, model, [field])];
  if (value.length > MAX_PROMPTS) refuse([field], `holds more than ${MAX_PROMPTS} prompts`);
  return value.map((prompt, i) => {
    if (typeof prompt === "string") return prompt.toWellFormed();
    if (Array.isArray(prompt)) return parseTokens(prompt, model, [field, i]);
    return refuse([field, i], `must be a string or an array of tokens, not ${show(prompt)}`);
  });
}

/** An array of tokens that the model has, at least one. */
export function parseTokens(value: unknown[], model: ModelInfo, path: PropertyKey[]): Int32Array {
  if (value.length === 0) refuse(path, "is empty: it must hold at least one token");
  const tokens = new Int32Array(value.length);
  for (let i = 0; i < value.length; i++) {
    const token = value[i];
    if (
      !Number.isInteger(token) || (token as number) < 0 || (token as number) >= model.vocabulary
    ) {
      refuse([...path, i], notInVocabulary(token, model));
    }
    tokens[i] = token as number;
  }
  return tokens;
}
