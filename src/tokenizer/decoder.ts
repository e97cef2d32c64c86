// SPDX-License-Identifier: Apache-2.0
/** From token ids to text, at once and piece by piece. */
import type { TokenizerSpec } from "./spec.ts";
import type { DecodeOptions, StreamDecoder } from "./tokenizer.ts";

const SPACE = 0x20;

/**
 * Turns tokens into text as they come. A character that tokens cut is held back until it is whole; what
 * is not UTF-8 becomes U+FFFD, one for each maximal invalid part, as `TextDecoder` does.
 */
export class TokenStream implements StreamDecoder {
  readonly #spec: TokenizerSpec;
  readonly #skipSpecial: boolean;
  readonly #shown: ReadonlySet<number> | undefined;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #spaces: number;
  #isFirst: boolean;

  constructor(spec: TokenizerSpec, options: DecodeOptions) {
    this.#spec = spec;
    this.#skipSpecial = options.skipSpecial ?? false;
    this.#shown = options.shown;
    this.#spaces = options.continues ? 0 : spec.decode.stripSpaces;
    this.#isFirst = !options.continues && spec.decode.stripFirstToken;
  }

  push(token: number): string {
    const bytes = this.#bytes(token);
    return bytes.length === 0 ? "" : this.#decoder.decode(bytes, { stream: true });
  }

  flush(): string {
    return this.#decoder.decode();
  }

  /** Text of many tokens at once, and the end. */
  all(tokens: ArrayLike<number>): string {
    const { offsets } = this.#spec.tokens;
    let length = 0;
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i]!;
      if (token >= 0 && token < this.#spec.size) length += offsets[token + 1]! - offsets[token]!;
    }
    const joined = new Uint8Array(length);
    let at = 0;
    for (let i = 0; i < tokens.length; i++) {
      const bytes = this.#bytes(tokens[i]!);
      joined.set(bytes, at);
      at += bytes.length;
    }
    return this.#decoder.decode(joined.subarray(0, at));
  }

  #bytes(token: number): Uint8Array {
    const spec = this.#spec;
    if (!(token >= 0 && token < spec.size)) return new Uint8Array(0);
    if (this.#skipSpecial && spec.special[token] === 1 && !this.#shown?.has(token)) {
      return new Uint8Array(0);
    }
    let bytes = tokenBytes(spec, token);
    if (this.#isFirst) {
      this.#isFirst = false;
      if (spec.special[token] !== 1) bytes = bytes.filter((byte) => byte !== SPACE);
    }
    if (this.#spaces === 0) return bytes;
    let dropped = 0;
    while (dropped < bytes.length && this.#spaces > 0 && bytes[dropped] === SPACE) {
      dropped++;
      this.#spaces--;
    }
    if (dropped < bytes.length) this.#spaces = 0;
    return bytes.subarray(dropped);
  }
}

/** A view of the token's bytes; none for ids that are no tokens. */
export function tokenBytes(spec: TokenizerSpec, token: number): Uint8Array {
  if (!(token >= 0 && token < spec.size)) return new Uint8Array(0);
  return spec.tokens.bytes.subarray(spec.tokens.offsets[token]!, spec.tokens.offsets[token + 1]!);
}
