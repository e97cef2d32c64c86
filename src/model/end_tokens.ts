// SPDX-License-Identifier: Apache-2.0
/** Tokens that end an answer, as the files of a model name them. */
import type { GgufMetadata } from "./gguf.ts";

/** Texts of tokens that end an answer, whatever the metadata say, as in llama.cpp. */
const END_TEXTS = new Set([
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<end_of_turn>",
  "<end_of_utterance>",
  "<EOT>",
  "_<EOT>",
  "▁<EOT>",
  "[EOT]",
  "[EOS]",
]);

/** Tokens that end an answer: those that the metadata name, and those with a usual text. */
export function ggufEndTokens(metadata: GgufMetadata, vocabulary: number): number[] {
  const ids = new Set<unknown>();
  for (const kind of ["eos", "eot", "eom"]) {
    ids.add(metadata.get(`tokenizer.ggml.${kind}_token_id`));
  }
  const tokens = metadata.get("tokenizer.ggml.tokens");
  if (Array.isArray(tokens)) {
    tokens.forEach((text, id) => {
      if (END_TEXTS.has(text)) ids.add(id);
    });
  }
  return [...ids]
    .filter((id): id is number =>
      Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocabulary
    )
    .sort((a, b) => a - b);
}
