// SPDX-License-Identifier: Apache-2.0
/**
 * The merge loop of byte-pair encoding: while there is a pair with a merge, merge the one of lowest rank,
 * leftmost among equals. Short pieces scan for it; long ones keep a heap over a linked list, so that a
 * text without any boundary costs n log n and not n squared.
 */
import { findPair } from "./pair_table.ts";

/** Ranks stay under this: a heap key is rank * 2^32 + position, exact in a double. */
export const MAX_MERGES = 2 ** 21;

/** Up to here scanning beats the heap. */
const SCAN_LIMIT = 48;

const NO_MERGE = 0x7fffffff;

const scanRanks = new Int32Array(SCAN_LIMIT);

/** Merges the first `count` symbols in place; returns how many are left. */
export function mergeSymbols(symbols: Int32Array, count: number, merges: Int32Array): number {
  if (count < 2) return count;
  return count <= SCAN_LIMIT
    ? mergeByScan(symbols, count, merges)
    : mergeByHeap(symbols, count, merges);
}

function rankOf(merges: Int32Array, left: number, right: number): number {
  const at = findPair(merges, left, right);
  return merges[at] === -1 ? NO_MERGE : merges[at + 2]!;
}

function mergeByScan(symbols: Int32Array, count: number, merges: Int32Array): number {
  const ranks = scanRanks;
  for (let i = 0; i + 1 < count; i++) ranks[i] = rankOf(merges, symbols[i]!, symbols[i + 1]!);
  for (;;) {
    let best = NO_MERGE;
    let at = -1;
    for (let i = 0; i + 1 < count; i++) {
      if (ranks[i]! < best) {
        best = ranks[i]!;
        at = i;
      }
    }
    if (at < 0) return count;
    symbols[at] = merges[findPair(merges, symbols[at]!, symbols[at + 1]!) + 3]!;
    count--;
    symbols.copyWithin(at + 1, at + 2, count + 1);
    ranks.copyWithin(at + 1, at + 2, count);
    if (at > 0) ranks[at - 1] = rankOf(merges, symbols[at - 1]!, symbols[at]!);
    if (at + 1 < count) ranks[at] = rankOf(merges, symbols[at]!, symbols[at + 1]!);
  }
}

/** A binary heap of doubles, smallest first. */
class Heap {
  #keys: Float64Array;
  #size = 0;

  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(capacity, 16));
  }

  push(key: number): void {
    if (this.#size === this.#keys.length) {
      const grown = new Float64Array(this.#size * 2);
      grown.set(this.#keys);
      this.#keys = grown;
    }
    const keys = this.#keys;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** The smallest key, or -1 when empty. */
  pop(): number {
    if (this.#size === 0) return -1;
    const keys = this.#keys;
    const top = keys[0]!;
    const key = keys[--this.#size]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= key) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = key;
    return top;
  }
}

function mergeByHeap(symbols: Int32Array, count: number, merges: Int32Array): number {
  const next = new Int32Array(count);
  const previous = new Int32Array(count);
  const heap = new Heap(count);
  const offer = (left: number, right: number) => {
    const rank = rankOf(merges, symbols[left]!, symbols[right]!);
    if (rank !== NO_MERGE) heap.push(rank * 2 ** 32 + left);
  };
  for (let i = 0; i < count; i++) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 < count) offer(i, i + 1);
  }
  for (let key = heap.pop(); key >= 0; key = heap.pop()) {
    const rank = Math.floor(key / 2 ** 32);
    const left = key - rank * 2 ** 32;
    const right = next[left]!;
    // Entries are not taken out when their symbols change: they are told by a pair of another rank.
    if (symbols[left] === -1 || right >= count) continue;
    const at = findPair(merges, symbols[left]!, symbols[right]!);
    if (merges[at] === -1 || merges[at + 2] !== rank) continue;
    symbols[left] = merges[at + 3]!;
    symbols[right] = -1;
    const after = next[right]!;
    next[left] = after;
    if (after < count) {
      previous[after] = left;
      offer(left, after);
    }
    if (previous[left]! >= 0) offer(previous[left]!, left);
  }
  let kept = 0;
  for (let i = 0; i < count; i = next[i]!) symbols[kept++] = symbols[i]!;
  return kept;
}
