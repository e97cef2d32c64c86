// SPDX-License-Identifier: Apache-2.0
/**
 * Merges as an open-addressing hash table in one Int32Array, four numbers a slot (left, right, rank,
 * merged), so that a look-up reads one cache line. A free slot has left = -1. Also a table of byte
 * strings, one number a slot.
 */
import type { ByteStrings } from "./spec.ts";
import { sharedInt32 } from "./spec.ts";

function slots(entries: number): number {
  let count = 4;
  while (count < entries * 1.5 + 1) count *= 2;
  return count;
}

function hashPair(left: number, right: number): number {
  let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return hash ^ (hash >>> 13);
}

/** An empty table for so many pairs. */
export function createPairTable(entries: number): Int32Array {
  return sharedInt32(slots(entries) * 4).fill(-1);
}

/** Index of the pair's slot in the table, or of the free slot where it would go. */
export function findPair(table: Int32Array, left: number, right: number): number {
  const mask = table.length - 1;
  let at = (hashPair(left, right) << 2) & mask;
  while (table[at]! !== -1 && (table[at]! !== left || table[at + 1]! !== right)) {
    at = (at + 4) & mask;
  }
  return at;
}

/** Adds a merge; a pair that is there already gets the new rank. */
export function addPair(
  table: Int32Array,
  left: number,
  right: number,
  rank: number,
  merged: number,
): void {
  const at = findPair(table, left, right);
  table[at] = left;
  table[at + 1] = right;
  table[at + 2] = rank;
  table[at + 3] = merged;
}

function hashBytes(bytes: ArrayLike<number>, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}

/** A table of the given strings; slots hold their index, or -1. */
export function createStringTable(keys: ByteStrings, indices: Iterable<number>): Int32Array {
  const table = sharedInt32(slots(keys.offsets.length - 1)).fill(-1);
  const mask = table.length - 1;
  for (const index of indices) {
    const from = keys.offsets[index]!;
    const to = keys.offsets[index + 1]!;
    let at = hashBytes(keys.bytes, from, to) & mask;
    while (table[at]! !== -1) at = (at + 1) & mask;
    table[at] = index;
  }
  return table;
}

/** Index of the string that is the first `length` numbers of `bytes`, or -1. */
export function findString(
  table: Int32Array,
  keys: ByteStrings,
  bytes: ArrayLike<number>,
  length: number,
): number {
  const mask = table.length - 1;
  let at = hashBytes(bytes, 0, length) & mask;
  for (let index = table[at]!; index !== -1; index = table[at]!) {
    const from = keys.offsets[index]!;
    if (keys.offsets[index + 1]! - from === length) {
      let i = 0;
      while (i < length && keys.bytes[from + i] === bytes[i]) i++;
      if (i === length) return index;
    }
    at = (at + 1) & mask;
  }
  return -1;
}
