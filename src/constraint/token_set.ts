// SPDX-License-Identifier: Apache-2.0
/** Sets of tokens: as bits where there are many, as a list where there are few. */

export function setToken(mask: Uint32Array, token: number): void {
  mask[token >>> 5]! |= 1 << (token & 31);
}

export function hasToken(mask: Uint32Array, token: number): boolean {
  return (mask[token >>> 5]! >>> (token & 31) & 1) === 1;
}

/** The tokens of a mask in rising order. */
export function tokensOf(mask: Uint32Array): number[] {
  const tokens: number[] = [];
  for (let word = 0; word < mask.length; word++) {
    for (let rest = mask[word]!; rest !== 0; rest &= rest - 1) {
      tokens.push(32 * word + 31 - Math.clz32(rest & -rest));
    }
  }
  return tokens;
}

function countBits(mask: Uint32Array): number {
  let count = 0;
  for (const word of mask) for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}

export class TokenSet {
  readonly #mask: Uint32Array | null;
  readonly #tokens: Int32Array | null;

  /** Takes the mask over. */
  constructor(mask: Uint32Array) {
    const many = countBits(mask) > mask.length / 2;
    this.#mask = many ? mask : null;
    this.#tokens = many ? null : Int32Array.from(tokensOf(mask));
  }

  get bytes(): number {
    return (this.#mask ?? this.#tokens)!.byteLength;
  }

  addTo(mask: Uint32Array): void {
    if (this.#tokens !== null) {
      for (const token of this.#tokens) setToken(mask, token);
    } else {
      const own = this.#mask!;
      for (let word = 0; word < mask.length; word++) mask[word]! |= own[word]!;
    }
  }
}
