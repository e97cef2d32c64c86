// SPDX-License-Identifier: Apache-2.0
/** Ranges of code points as sequences of byte ranges (UTF-8). */
import type { CodeRange } from "./grammar.ts";

/** Bytes from the first to the last, both included. */
export type ByteRange = readonly [number, number];

/** Last code point of each length in bytes; surrogates have no UTF-8 and are left out. */
const LENGTHS: readonly CodeRange[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

/** The sequences whose union is the UTF-8 of the range. */
export function utf8Sequences([from, to]: CodeRange): ByteRange[][] {
  const sequences: ByteRange[][] = [];
  for (const [first, last] of LENGTHS) {
    const [low, high] = [Math.max(from, first), Math.min(to, last)];
    if (low <= high) split(encode(low), encode(high), [], sequences);
  }
  return sequences;
}

function encode(code: number): number[] {
  if (code < 0x80) return [code];
  const tail = (shift: number) => 0x80 | (code >> shift & 0x3f);
  if (code < 0x800) return [0xc0 | code >> 6, tail(0)];
  if (code < 0x10000) return [0xe0 | code >> 12, tail(6), tail(0)];
  return [0xf0 | code >> 18, tail(12), tail(6), tail(0)];
}

/** Cuts from..to, byte strings of one length, where the rest isn't full ranges of continuation bytes. */
function split(from: number[], to: number[], before: ByteRange[], out: ByteRange[][]): void {
  const [low, high] = [from[0]!, to[0]!];
  const [lowRest, highRest] = [from.slice(1), to.slice(1)];
  if (lowRest.length === 0) {
    out.push([...before, [low, high]]);
    return;
  }
  const [least, most] = [lowRest.map(() => 0x80), highRest.map(() => 0xbf)];
  if (low === high) return split(lowRest, highRest, [...before, [low, low]], out);
  const lowFull = lowRest.every((byte) => byte === 0x80);
  const highFull = highRest.every((byte) => byte === 0xbf);
  if (!lowFull) split(lowRest, most, [...before, [low, low]], out);
  const [first, last] = [lowFull ? low : low + 1, highFull ? high : high - 1];
  if (first <= last) {
    out.push([...before, [first, last], ...least.map((): ByteRange => [0x80, 0xbf])]);
  }
  if (!highFull) split(least, highRest, [...before, [high, high]], out);
}
