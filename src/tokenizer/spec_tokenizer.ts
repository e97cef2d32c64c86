// SPDX-License-Identifier: Apache-2.0
/** The tokenizer that a {@linkcode TokenizerSpec} describes. */
import { tokenBytes, TokenStream } from "./decoder.ts";
import { type EncodeHow, Encoder } from "./encoder.ts";
import type { TokenizerSpec } from "./spec.ts";
import type { DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer } from "./tokenizer.ts";

/** Options with their defaults. */
export function encodeHow(options: EncodeOptions = {}): EncodeHow {
  return {
    parseSpecial: options.parseSpecial ?? false,
    around: options.addSpecial ? "both" : "none",
    markers: null,
  };
}

/** Encodes and decodes on the calling thread. */
export class SpecTokenizer implements Tokenizer {
  readonly #spec: TokenizerSpec;
  readonly #encoder: Encoder;

  constructor(spec: TokenizerSpec, readonly endTokens: readonly number[]) {
    this.#spec = spec;
    this.#encoder = new Encoder(spec);
  }

  get size(): number {
    return this.#spec.size;
  }

  encode(text: string, options?: EncodeOptions): Int32Array {
    return this.encodeWith(text, encodeHow(options));
  }

  /** Like `encode`, for rendered chats too. */
  encodeWith(text: string, how: EncodeHow): Int32Array {
    return this.#encoder.encode(text, how);
  }

  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    return new TokenStream(this.#spec, options).all(tokens);
  }

  tokenBytes(token: number): Uint8Array {
    return tokenBytes(this.#spec, token).slice();
  }

  isSpecial(token: number): boolean {
    return this.#spec.special[token] === 1;
  }

  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return new TokenStream(this.#spec, options);
  }
}
