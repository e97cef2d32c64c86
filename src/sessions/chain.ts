// SPDX-License-Identifier: Apache-2.0
/**
 * Hashes of token blocks, each of a block and all before it: equal ones mean equal beginnings (of 53 bits; what
 * is restored is compared token by token). They begin with the scope, so that nobody finds another's.
 */
import { BLOCK_TOKENS } from "../engine/engine.ts";

/** One for each full block. */
export type Chain = Float64Array<ArrayBuffer>;

/** Two hashes of 32 bits, of which 53 bits become a number. */
class Hash {
  #a = 0x9e3779b9;
  #b = 0x85ebca6b;

  add(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x01000193);
    this.#a ^= this.#a >>> 15;
    this.#b = Math.imul(this.#b ^ value, 0x27d4eb2f);
    this.#b ^= this.#b >>> 13;
  }

  get value(): number {
    return (this.#a >>> 0) * 2 ** 21 + (this.#b >>> 11);
  }
}

export function chainOf(scope: string, tokens: Int32Array): Chain {
  const hash = new Hash();
  for (let i = 0; i < scope.length; i++) hash.add(scope.charCodeAt(i));
  const chain = new Float64Array(Math.floor(tokens.length / BLOCK_TOKENS));
  for (let block = 0, i = 0; block < chain.length; block++) {
    for (const end = i + BLOCK_TOKENS; i < end; i++) hash.add(tokens[i]!);
    chain[block] = hash.value;
  }
  return chain;
}

/** First tokens that two sequences have in common. */
export function commonTokens(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length);
  let count = 0;
  while (count < most && a[count] === b[count]) count++;
  return count;
}
