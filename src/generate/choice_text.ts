// SPDX-License-Identifier: Apache-2.0
/** The text of one choice: from tokens to what may be sent, with stop strings cut off. */
import type { StreamDecoder } from "../tokenizer/tokenizer.ts";
import type { TokenInfo } from "../types.ts";
import { StopMatcher, type StopPattern } from "./stop_matcher.ts";

/** Text that may be sent now. */
export interface Released {
  text: string;
  /** The tokens of this text, whole; only those that came with a {@linkcode TokenInfo}. */
  tokens: TokenInfo[];
  /** Tokens that were read since the last release. */
  count: number;
}

/** A token whose text was not released yet; positions are code units of the whole text. */
interface HeldToken {
  info: TokenInfo;
  start: number;
  /** -1 while the token ends within a character. */
  end: number;
}

export class ChoiceText {
  readonly #decoder: StreamDecoder;
  readonly #matcher: StopMatcher;
  /** Decoded, not yet released. */
  #text = "";
  /** Position of the first unit of `#text`. */
  #released = 0;
  #held: HeldToken[] = [];
  #count = 0;
  #stop: string | null = null;

  constructor(decoder: StreamDecoder, patterns: readonly StopPattern[]) {
    this.#decoder = decoder;
    this.#matcher = new StopMatcher(patterns);
  }

  /** The stop string that ended the text; nothing may be pushed after that. */
  get stopString(): string | null {
    return this.#stop;
  }

  /** Reads a token. `mayStop`: a stop string that it completes ends the text. */
  push(token: number, info: TokenInfo | null, mayStop: boolean): Released | null {
    const start = this.#released + this.#text.length;
    if (info !== null) this.#held.push({ info, start, end: -1 });
    this.#count++;
    const piece = this.#decoder.push(token);
    return piece === "" ? null : this.#append(piece, mayStop);
  }

  /** No more tokens come: releases everything. `mayStop` as for {@linkcode push}. */
  finish(mayStop: boolean): Released | null {
    if (this.#stop !== null) return null;
    const piece = this.#decoder.flush();
    const cut = piece === "" ? null : this.#append(piece, mayStop);
    if (this.stopString !== null) return cut;
    const rest = this.#release(this.#released + this.#text.length, this.#held.length);
    if (cut === null) return rest;
    return rest === null ? cut : {
      text: cut.text + rest.text,
      tokens: [...cut.tokens, ...rest.tokens],
      count: cut.count + rest.count,
    };
  }

  #append(piece: string, mayStop: boolean): Released | null {
    this.#text += piece;
    const end = this.#released + this.#text.length;
    for (let i = this.#held.length - 1; i >= 0 && this.#held[i]!.end < 0; i--) {
      this.#held[i]!.end = end;
    }
    const match = this.#matcher.push(piece, mayStop);
    if (match !== null) {
      this.#stop = match.stop;
      const kept = this.#held.findIndex((token) => token.start >= match.start);
      return this.#release(match.start, kept < 0 ? this.#held.length : kept);
    }
    return this.#releaseWhole(end - this.#matcher.heldBack);
  }

  /** Releases up to `limit`; with token infos up to the last token that ends there or before. */
  #releaseWhole(limit: number): Released | null {
    if (this.#held.length === 0) return this.#release(limit, 0);
    let tokens = 0;
    while (tokens < this.#held.length && this.#held[tokens]!.end <= limit) tokens++;
    return tokens === 0 ? null : this.#release(this.#held[tokens - 1]!.end, tokens);
  }

  #release(limit: number, tokens: number): Released | null {
    const length = limit - this.#released;
    if (length <= 0 && tokens === 0) return null;
    const released = {
      text: this.#text.slice(0, length),
      tokens: this.#held.splice(0, tokens).map((token) => token.info),
      count: this.#count,
    };
    this.#text = this.#text.slice(length);
    this.#released = limit;
    this.#count = 0;
    return released;
  }
}
