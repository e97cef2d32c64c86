// SPDX-License-Identifier: Apache-2.0
/**
 * The tokens of a tokenizer by their text. A Map would need a new string for every half of every merge:
 * with 280,000 merges that is most of the loading time. This table looks up parts of strings.
 */

function extend(hash: number, text: string, from: number, to: number): number {
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

const EMPTY_HASH = 0x811c9dc5;

/** Tokens as written in the file, and their ids. */
export class Vocabulary implements Iterable<[string, number]> {
  readonly #tokens: string[] = [];
  readonly #ids: number[] = [];
  readonly #hashes: Int32Array;
  /** Index of a token, or -1. */
  readonly #table: Int32Array;

  /** Room for so many tokens. */
  constructor(capacity: number) {
    let slots = 16;
    while (slots < capacity * 1.5 + 1) slots *= 2;
    this.#table = new Int32Array(slots).fill(-1);
    this.#hashes = new Int32Array(capacity);
  }

  get count(): number {
    return this.#tokens.length;
  }

  *[Symbol.iterator](): Generator<[string, number]> {
    for (let i = 0; i < this.#tokens.length; i++) yield [this.#tokens[i]!, this.#ids[i]!];
  }

  /** A token that is there already gets the new id. */
  set(token: string, id: number): void {
    const hash = extend(EMPTY_HASH, token, 0, token.length);
    const at = this.#find(hash, token, 0, token.length, "", 0, 0);
    const index = this.#table[at]!;
    if (index >= 0) {
      this.#ids[index] = id;
      return;
    }
    if (this.#tokens.length === this.#hashes.length) throw new RangeError("vocabulary is full");
    this.#table[at] = this.#tokens.length;
    this.#hashes[this.#tokens.length] = hash;
    this.#tokens.push(token);
    this.#ids.push(id);
  }

  /** Id of a text, or -1. */
  get(text: string): number {
    return this.getPart(text, 0, text.length);
  }

  /** Id of a part of a text, or -1. */
  getPart(text: string, from: number, to: number): number {
    const hash = extend(EMPTY_HASH, text, from, to);
    return this.#idAt(this.#find(hash, text, from, to, "", 0, 0));
  }

  /** Id of two parts of texts as one token, or -1. */
  getJoined(a: string, aFrom: number, aTo: number, b: string, bFrom: number, bTo: number): number {
    const hash = extend(extend(EMPTY_HASH, a, aFrom, aTo), b, bFrom, bTo);
    return this.#idAt(this.#find(hash, a, aFrom, aTo, b, bFrom, bTo));
  }

  #idAt(slot: number): number {
    const index = this.#table[slot]!;
    return index < 0 ? -1 : this.#ids[index]!;
  }

  #find(
    hash: number,
    a: string,
    aFrom: number,
    aTo: number,
    b: string,
    bFrom: number,
    bTo: number,
  ): number {
    const mask = this.#table.length - 1;
    const length = aTo - aFrom;
    let at = (hash ^ (hash >>> 15)) & mask;
    for (let index = this.#table[at]!; index >= 0; index = this.#table[at]!) {
      const token = this.#tokens[index]!;
      if (
        this.#hashes[index] === hash && token.length === length + bTo - bFrom &&
        equalPart(token, 0, a, aFrom, aTo) && equalPart(token, length, b, bFrom, bTo)
      ) break;
      at = (at + 1) & mask;
    }
    return at;
  }
}

function equalPart(token: string, offset: number, text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if (token.charCodeAt(offset + i - from) !== text.charCodeAt(i)) return false;
  }
  return true;
}
