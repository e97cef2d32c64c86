// SPDX-License-Identifier: Apache-2.0
/** Seeded damage to files, and what a parser must do with it. */
import process from "node:process";
import { Failure } from "../../../src/errors.ts";
import type { ByteSource } from "../../../src/model/bytes.ts";

/** Random whole numbers below a bound, the same for the same seed. */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % below;
  };
}

/** Numbers that lengths, counts, types and offsets break on. */
const LIMITS = [
  0n,
  1n,
  2n,
  7n,
  31n,
  255n,
  65535n,
  0x7fffffffn,
  0xffffffffn,
  1n << 53n,
  1n << 63n,
  ~0n,
];

type Random = (below: number) => number;

function flipBits(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  for (let i = random(8); i >= 0; i--) bytes[random(bytes.length)]! ^= 1 << random(8);
  return bytes;
}

function setNumber(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const value = LIMITS[random(LIMITS.length)]!;
  const width = [1, 2, 4, 8][random(4)]!;
  const at = random(Math.max(1, bytes.length - width));
  for (let i = 0; i < width; i++) bytes[at + i] = Number(value >> BigInt(8 * i) & 0xffn);
  return bytes;
}

function cut(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  return bytes.subarray(0, random(bytes.length + 1));
}

function splice(
  bytes: Uint8Array<ArrayBuffer>,
  random: Random,
  other: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const from = random(other.length), length = random(Math.min(200, other.length - from) + 1);
  const at = random(bytes.length + 1);
  const skip = random(3) === 0 ? length : random(200);
  return Uint8Array.of(
    ...bytes.subarray(0, at),
    ...other.subarray(from, from + length),
    ...bytes.subarray(at + skip),
  );
}

/** The bytes with one to three pieces of damage; others come from a second file. */
export function damage(
  original: Uint8Array,
  other: Uint8Array<ArrayBuffer>,
  random: Random,
): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(original);
  for (let i = random(3); i >= 0; i--) {
    if (bytes.length === 0) break;
    const kind = random(10);
    if (kind < 4) bytes = flipBits(bytes, random);
    else if (kind < 8) bytes = setNumber(bytes, random);
    else if (kind === 8) bytes = cut(bytes, random);
    else bytes = splice(bytes, random, other);
  }
  return bytes;
}

/** Counts what is read, so that a test can see that no parser reads more than a file has. */
export class CountingSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #source: ByteSource;
  bytesRead = 0;

  constructor(source: ByteSource) {
    this.name = source.name;
    this.size = source.size;
    this.#source = source;
  }

  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.bytesRead += length;
    return this.#source.read(offset, length);
  }
}

/** How often a parser took damaged input, and how often it refused. */
export interface FuzzCount {
  accepted: number;
  refused: number;
}

/**
 * Runs `parse` on inputs made from seeds 0 to `runs`.
 * @throws when it throws anything but a {@linkcode Failure} of kind `model`, or takes a second
 */
export function fuzz(runs: number, parse: (random: Random) => void): FuzzCount {
  const count = { accepted: 0, refused: 0 };
  for (let seed = 0; seed < runs; seed++) {
    const before = process.cpuUsage(); // not what other programs take meanwhile
    const error = errorOf(() => parse(seededRandom(seed)));
    const { user, system } = process.cpuUsage(before);
    const took = (user + system) / 1000;
    if (took > 1000) throw new Error(`Mutation ${seed} took ${took} ms`);
    if (error === null) {
      count.accepted++;
      continue;
    }
    if (!(error instanceof Failure) || error.kind !== "model") {
      throw new Error(`Mutation ${seed} ended in no Failure`, { cause: error });
    }
    if (error.message.length > 4000) {
      throw new Error(`Mutation ${seed} has a message of ${error.message.length} characters`);
    }
    count.refused++;
  }
  return count;
}

function errorOf(work: () => void): unknown {
  try {
    work();
    return null;
  } catch (error) {
    return error;
  }
}
