// SPDX-License-Identifier: Apache-2.0
/** Byte-pair encoding of single pieces, with a cache: texts repeat their words. */
import { mergeSymbols } from "./merge.ts";
import { findString } from "./pair_table.ts";
import type { TokenizerSpec } from "./spec.ts";
import { writeUtf8 } from "./utf8.ts";

/** Pieces longer than this (units) are not kept. */
const CACHED_LENGTH = 48;
const CACHED_PIECES = 1 << 16;

/**
 * Pieces longer than this (units) are encoded in parts, to bound memory: 4 M units take 150 MB for a
 * moment. Only a text without any boundary reaches it; one token or two differ at each cut.
 */
const PART_LENGTH = 1 << 22;

/** Grows as ids are added. */
export class IdBuffer {
  #ids = new Int32Array(1024);
  #length = 0;

  push(id: number): void {
    if (this.#length === this.#ids.length) this.#grow(1);
    this.#ids[this.#length++] = id;
  }

  append(ids: Int32Array): void {
    if (this.#length + ids.length > this.#ids.length) this.#grow(ids.length);
    this.#ids.set(ids, this.#length);
    this.#length += ids.length;
  }

  get length(): number {
    return this.#length;
  }

  /** The first id, or -1. */
  get first(): number {
    return this.#length > 0 ? this.#ids[0]! : -1;
  }

  take(): Int32Array<ArrayBuffer> {
    return this.#ids.slice(0, this.#length);
  }

  #grow(more: number): void {
    const grown = new Int32Array(Math.max(this.#ids.length * 2, this.#length + more));
    grown.set(this.#ids);
    this.#ids = grown;
  }
}

/** Encodes pieces for one tokenizer. */
export class PieceEncoder {
  readonly #spec: TokenizerSpec;
  readonly #characters = new Map<number, number>();
  readonly #cache = new Map<string, Int32Array>();
  #symbols = new Int32Array(256);
  #bytes = new Int32Array(256);

  constructor(spec: TokenizerSpec) {
    this.#spec = spec;
    for (let i = 0; i < spec.characterTokens.length; i += 2) {
      this.#characters.set(spec.characterTokens[i]!, spec.characterTokens[i + 1]!);
    }
  }

  /** Adds the tokens of a well-formed, not empty text that no merge leaves. */
  encode(piece: string, target: IdBuffer): void {
    if (piece.length > CACHED_LENGTH) {
      this.#encodeParts(piece, target);
      return;
    }
    let ids = this.#cache.get(piece);
    if (!ids) {
      ids = this.#tokens(piece).slice();
      if (this.#cache.size >= CACHED_PIECES) this.#cache.clear();
      this.#cache.set(piece, ids);
    }
    target.append(ids);
  }

  #encodeParts(piece: string, target: IdBuffer): void {
    for (let from = 0; from < piece.length;) {
      let to = Math.min(from + PART_LENGTH, piece.length);
      if (to < piece.length && piece.codePointAt(to - 1)! > 0xffff) to--;
      target.append(this.#tokens(piece.slice(from, to)));
      from = to;
    }
    // What a huge piece needed is not kept.
    if (this.#symbols.length > 1 << 20) this.#symbols = new Int32Array(256);
    if (this.#bytes.length > 1 << 20) this.#bytes = new Int32Array(256);
  }

  /** A view that the next call overwrites. */
  #tokens(piece: string): Int32Array {
    if (this.#symbols.length < piece.length * 4) this.#symbols = new Int32Array(piece.length * 4);
    const whole = this.#spec.whole && this.#wholeToken(piece);
    if (whole !== null && whole !== -1) {
      this.#symbols[0] = whole;
      return this.#symbols.subarray(0, 1);
    }
    const count = this.#spec.alphabet === "bytes"
      ? this.#byteSymbols(piece)
      : this.#characterSymbols(piece);
    return this.#symbols.subarray(0, mergeSymbols(this.#symbols, count, this.#spec.merges));
  }

  #utf8(text: string): number {
    if (this.#bytes.length < text.length * 3) this.#bytes = new Int32Array(text.length * 3);
    return writeUtf8(text, this.#bytes);
  }

  #wholeToken(piece: string): number {
    const { keys, table } = this.#spec.whole!;
    return findString(table, keys, this.#bytes, this.#utf8(piece));
  }

  #byteSymbols(piece: string): number {
    const { byteTokens, unknown, fuseUnknown } = this.#spec;
    const symbols = this.#symbols;
    const length = this.#utf8(piece);
    let count = 0;
    let wasUnknown = false;
    for (let i = 0; i < length; i++) {
      const token = byteTokens[this.#bytes[i]!]!;
      if (token >= 0) symbols[count++] = token;
      else if (unknown >= 0 && !(wasUnknown && fuseUnknown)) symbols[count++] = unknown;
      wasUnknown = token < 0;
    }
    return count;
  }

  #characterSymbols(piece: string): number {
    const { unknown, fuseUnknown } = this.#spec;
    const symbols = this.#symbols;
    let count = 0;
    let wasUnknown = false;
    for (let i = 0; i < piece.length; i++) {
      const code = piece.codePointAt(i)!;
      if (code > 0xffff) i++;
      const token = this.#characters.get(code);
      if (token !== undefined) {
        symbols[count++] = token;
        wasUnknown = false;
        continue;
      }
      const added = this.#fallback(code, count);
      if (added === 0 && unknown >= 0 && !(wasUnknown && fuseUnknown)) symbols[count++] = unknown;
      wasUnknown = added === 0;
      count += added;
    }
    return count;
  }

  /** Writes the tokens of the character's bytes; 0 when one of them has none. */
  #fallback(code: number, at: number): number {
    const length = this.#utf8(String.fromCodePoint(code));
    for (let i = 0; i < length; i++) {
      const token = this.#spec.byteTokens[this.#bytes[i]!]!;
      if (token < 0) return 0;
      this.#symbols[at + i] = token;
    }
    return length;
  }
}
