// SPDX-License-Identifier: Apache-2.0
/** Bytes and text of single tokens, made once each: log-probabilities name the same tokens again and again. */
import type { TokenLogprob } from "../engine/engine.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { TokenInfo } from "../types.ts";

interface TokenText {
  bytes: Uint8Array;
  text: string;
}

export class TokenTexts {
  readonly #tokenizer: Tokenizer;
  readonly #known = new Map<number, TokenText>();
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  #of(token: number): TokenText {
    let known = this.#known.get(token);
    if (known === undefined) {
      const bytes = this.#tokenizer.tokenBytes(token);
      known = { bytes, text: this.#decoder.decode(bytes) };
      this.#known.set(token, known);
    }
    return known;
  }

  /** A token with what clients see of it. */
  info(
    token: number,
    logprob: number | null,
    alternatives: readonly TokenLogprob[],
  ): TokenInfo {
    const { bytes, text } = this.#of(token);
    return {
      token,
      bytes,
      text,
      logprob,
      alternatives: alternatives.map((alternative) => {
        const { bytes, text } = this.#of(alternative.token);
        return { token: alternative.token, logprob: alternative.logprob, bytes, text };
      }),
    };
  }
}
