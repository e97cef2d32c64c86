// SPDX-License-Identifier: Apache-2.0
/** What the rest of the server knows of tokenizers and chat templates. */

import type { DialectName } from "../tools/dialect.ts";

/** One message of a conversation, as a chat template sees it: contents are text already. */
export interface ChatMessage {
  role: string;
  content: string;
  name?: string;
  tool_call_id?: string;
  tool_calls?: unknown[];
}

/** How a text becomes tokens. */
export interface EncodeOptions {
  /** Read `<|im_end|>` and the like as special tokens (default: false, they stay text). */
  parseSpecial?: boolean;
  /** Add what the model wants around a text (BOS; default: false). */
  addSpecial?: boolean;
}

/** How tokens become text. */
export interface DecodeOptions {
  /** Leave special tokens out (default: false). */
  skipSpecial?: boolean;
  /** Special tokens that are not left out. */
  shown?: ReadonlySet<number>;
  /**
   * The tokens go on after other text (default: false): with SentencePiece, the space that their first
   * token begins with belongs to the text and is not dropped.
   */
  continues?: boolean;
}

/** Turns tokens into text piece by piece; never emits half a character. */
export interface StreamDecoder {
  /** Text that is complete after this token; may be empty. */
  push(token: number): string;
  /** What is left, with U+FFFD for a cut character. */
  flush(): string;
}

/** Turns text into tokens and back. Synchronous: long texts go through the worker. */
export interface Tokenizer {
  /** Rows that ids stay under. */
  readonly size: number;
  /** Tokens that end a generation. */
  readonly endTokens: readonly number[];
  encode(text: string, options?: EncodeOptions): Int32Array;
  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string;
  /** The bytes of one token as it appears in a text, special tokens as their name. */
  tokenBytes(token: number): Uint8Array;
  isSpecial(token: number): boolean;
  streamDecoder(options?: DecodeOptions): StreamDecoder;
}

/** Options of a chat prompt. */
export interface ChatOptions {
  /** End the prompt where the assistant's answer starts (default: true). */
  addGenerationPrompt?: boolean;
  /** Leave the last message open, to be continued. */
  continueFinalMessage?: boolean;
  tools?: unknown[];
  /** Further variables of the template. */
  extra?: Record<string, unknown>;
}

/** What clients that tokenize or render by themselves ask for. */
export interface TokenizerInfo {
  bosToken: string | null;
  eosToken: string | null;
  /** The source of the template that conversations without tools use. */
  chatTemplate: string | null;
}

/**
 * Tokenizer and template of one model, off the event loop where the text is long. This is what the
 * server uses; `src/tokenizer/load.ts` makes one from a model.
 */
export interface TextProcessor {
  readonly tokenizer: Tokenizer;
  readonly hasChatTemplate: boolean;
  /** How the model calls tools. */
  readonly toolDialect: DialectName;
  readonly info: TokenizerInfo;
  /** Special tokens only where the template put them: those in a message's content stay text. */
  encodeChat(messages: readonly ChatMessage[], options?: ChatOptions): Promise<Int32Array>;
  /** The rendered prompt, for people. @throws {Failure} kind `invalid` with the template's own sentence. */
  renderChat(messages: readonly ChatMessage[], options?: ChatOptions): string;
  encode(text: string, options?: EncodeOptions): Promise<Int32Array>;
  close(): void;
}
