// SPDX-License-Identifier: Apache-2.0
/** The bodies of `POST /tokenize` and `POST /detokenize`: vLLM's and llama.cpp's names both. */
import type { ChatMessage, ChatOptions } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import { templateOf } from "./chat.ts";
import { fields, flag, parse, refuse, show, text } from "./fields.ts";
import { parseMessages } from "./messages.ts";
import { parseTokens } from "./prompt.ts";

/** Decoding is synchronous, so one request may not ask for more. */
export const MAX_DETOKENIZE = 2 ** 20;

/** The fields of a tokenize request but for the conversation. */
export const tokenizeSchema = fields({
  prompt: text.optional(),
  content: text.optional(),
  add_special_tokens: flag.optional(),
  add_special: flag.optional(),
  parse_special: flag.optional(),
  with_pieces: flag.optional(),
  return_token_strs: flag.optional(),
});

/** What is to be tokenized, and how the tokens are to be shown. */
export interface TokenizeBody {
  source:
    | { text: string; addSpecial: boolean; parseSpecial: boolean }
    | { messages: ChatMessage[]; template: ChatOptions };
  /** llama.cpp: `tokens` holds `{id, piece}`. */
  withPieces: boolean;
  /** vLLM: the tokens' texts in `token_strs`. */
  withStrings: boolean;
}

/** Reads the body of `/tokenize`. */
export function parseTokenize(value: Record<string, unknown>): TokenizeBody {
  const body = parse(tokenizeSchema, value);
  const shown = {
    withPieces: body.with_pieces ?? false,
    withStrings: body.return_token_strs ?? false,
  };
  const given = body.prompt ?? body.content;
  if (given === undefined) {
    if (value["messages"] == null) {
      refuse([], "must hold what to tokenize: prompt, content or messages");
    }
    const messages = parseMessages(value["messages"]);
    return { source: { messages, template: templateOf(value) }, ...shown };
  }
  // vLLM adds BOS to `prompt` unless told otherwise, llama.cpp to `content` only when told.
  const addSpecial = body.add_special_tokens ?? body.add_special ?? body.prompt !== undefined;
  const parseSpecial = body.parse_special ?? true;
  return { source: { text: given, addSpecial, parseSpecial }, ...shown };
}

/** The tokens in the body of `/detokenize`. */
export function parseDetokenize(value: Record<string, unknown>, model: ModelInfo): Int32Array {
  const tokens = value["tokens"];
  if (!Array.isArray(tokens)) {
    refuse(
      ["tokens"],
      tokens === undefined ? "is missing" : `must be an array, not ${show(tokens)}`,
    );
  }
  if (tokens.length > MAX_DETOKENIZE) {
    refuse(["tokens"], `holds more than ${MAX_DETOKENIZE} tokens`);
  }
  if (tokens.length === 0) return new Int32Array();
  return parseTokens(tokens, model, ["tokens"]);
}
