// SPDX-License-Identifier: Apache-2.0
/**
 * Measured speed: how many prefill tokens a step can take, and when to try again. A prefill token costs the
 * same everywhere in the matrix products, and in attention by how many keys lie before it.
 */
import type { StageMs } from "../engine/engine.ts";

/** Milliseconds of a step in which some decode, unless told otherwise. */
export const STEP_MS = 50;
/** A step in which nobody decodes may be so much longer: large chunks are quicker, and only newcomers wait. */
const LONE_FACTOR = 10;
/** Share of a step that prefill gets at least, however long decode takes: so no prompt waits for ever. */
const LEAST_SHARE = 0.25;
/** Tokens that fit into a step before anything was measured. */
const UNKNOWN_TOKENS = 64;
/** What rates are measured over: so many tokens, and so many pairs of a token and a key before it. */
const RATE_TOKENS = 1024;
const RATE_PAIRS = 5_000_000;
/** With fewer pairs, attention takes what its tokens cost rather than what their keys do. */
const LEAST_PAIRS = 50_000;
/** Steps in which prompts run beside decode, until one without prompts measures decode again. */
const MOST_MIXED_STEPS = 31;
/** Weight of the newest measurement in a moving average. */
const NEWEST = 0.25;
/** Bounds of Retry-After in seconds (clients ignore more than a minute), and a guess before anything ended. */
const MOST_RETRY_SECONDS = 60;
const UNKNOWN_RETRY_SECONDS = 5;

function blend(average: number | null, value: number): number {
  return average === null ? value : average + NEWEST * (value - average);
}

/** Milliseconds a unit over the last so many units: long chunks count more than short ones. */
class Rate {
  readonly #most: number;
  #ms = 0;
  #units = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(ms: number, units: number): void {
    const kept = Math.min(1, this.#most / (this.#units + units));
    this.#ms = this.#ms * kept + Math.max(0, ms);
    this.#units = this.#units * kept + units;
  }

  get value(): number | null {
    return this.#units === 0 ? null : this.#ms / this.#units;
  }
}

/** Prefill of a step: tokens of each chunk, and how many of its context's tokens lie before it. */
export type Chunks = readonly { tokens: number; depth: number }[];

/** What a step that ended took. */
export interface StepTimes {
  /** With everything around the engine's own time. */
  totalMs: number;
  /** null when the step failed. */
  stageMs: StageMs | null;
  prefill: Chunks;
  decodeTokens: number;
}

/** What planning wants to know of speed. */
export interface ChunkPace {
  /** Milliseconds of prefill in a step in which so many sequences decode. */
  prefillMs(decoding: number): number;
  /** Tokens of a chunk at a depth that take so long. */
  tokensIn(ms: number, depth: number): number;
  msOf(tokens: number, depth: number): number;
  /** The next step should run no prompts, since what so many decoding sequences take isn't known (any more). */
  lacksDecode(decoding: number): boolean;
}

function pairs(tokens: number, depth: number): number {
  return tokens * (depth + tokens / 2);
}

export class Pace implements ChunkPace {
  readonly #stepMs: number;
  /** Of prefill: everything but attention, and attention. */
  readonly #token = new Rate(RATE_TOKENS);
  readonly #pair = new Rate(RATE_PAIRS);
  /** Of steps that only decode: everything but attention, attention, and sequences. */
  #decodeMs: number | null = null;
  #decodeAttentionMs: number | null = null;
  #decoding: number | null = null;
  /** Steps since the last of them. */
  #mixed = 0;
  #busyMsPerJob: number | null = null;
  #busyMs = 0;

  constructor(stepMs = STEP_MS) {
    this.#stepMs = stepMs;
  }

  prefillMs(decoding: number): number {
    if (decoding === 0) return LONE_FACTOR * this.#stepMs;
    const { ms, attentionMs } = this.#decode(decoding);
    const decodeMs = ms + attentionMs;
    const least = LEAST_SHARE * Math.max(this.#stepMs, decodeMs / (1 - LEAST_SHARE));
    return Math.max(this.#stepMs - decodeMs, least);
  }

  tokensIn(ms: number, depth: number): number {
    if (ms <= 0) return 0;
    const { token, pair } = this.#rates;
    // token · n + pair · (depth · n + n² / 2) = ms
    const linear = token + pair * depth;
    const root = Math.sqrt(linear * linear + 2 * pair * ms);
    return linear + root === 0 ? Infinity : Math.floor(2 * ms / (linear + root));
  }

  msOf(tokens: number, depth: number): number {
    const { token, pair } = this.#rates;
    return token * tokens + pair * pairs(tokens, depth);
  }

  // What a step with both took can't be told apart: with decode unknown, prompts would seem dear and get little.
  lacksDecode(decoding: number): boolean {
    return decoding > 0 && (this.#decodeMs === null || this.#mixed >= MOST_MIXED_STEPS);
  }

  /** A step ended. */
  stepped({ totalMs, stageMs, prefill, decodeTokens }: StepTimes): void {
    this.#busyMs += totalMs;
    if (stageMs === null) return;
    const attentionMs = Math.min(stageMs.attention, totalMs);
    const ms = totalMs - attentionMs;
    if (prefill.length === 0) {
      this.#mixed = 0;
      this.#decodeMs = blend(this.#decodeMs, ms);
      this.#decodeAttentionMs = blend(this.#decodeAttentionMs, attentionMs);
      this.#decoding = blend(this.#decoding, decodeTokens);
      return;
    }
    if (decodeTokens > 0) this.#mixed++;
    const decode = this.#decode(decodeTokens);
    const sum = (of: (chunk: Chunks[number]) => number) =>
      prefill.reduce((total, chunk) => total + of(chunk), 0);
    const units = sum(({ tokens, depth }) => pairs(tokens, depth));
    const attention = attentionMs - decode.attentionMs;
    const few = units < LEAST_PAIRS;
    this.#token.add(ms - decode.ms + (few ? attention : 0), sum(({ tokens }) => tokens));
    if (!few) this.#pair.add(attention, units);
  }

  /** A job finished. */
  finished(): void {
    this.#busyMsPerJob = blend(this.#busyMsPerJob, this.#busyMs);
    this.#busyMs = 0;
  }

  /** Seconds until half of a queue of this length should be gone. */
  retryAfterSeconds(waiting: number): number {
    if (this.#busyMsPerJob === null) return UNKNOWN_RETRY_SECONDS;
    const seconds = Math.ceil(this.#busyMsPerJob * Math.ceil(waiting / 2) / 1000);
    return Math.min(MOST_RETRY_SECONDS, Math.max(1, seconds));
  }

  get #rates(): { token: number; pair: number } {
    const token = this.#token.value ?? this.#stepMs / UNKNOWN_TOKENS;
    return { token, pair: this.#pair.value ?? 0 };
  }

  /** What so many decoding sequences take, as far as is known: no less than fewer of them. */
  #decode(sequences: number): { ms: number; attentionMs: number } {
    if (sequences === 0) return { ms: 0, attentionMs: 0 };
    const more = Math.max(1, sequences / (this.#decoding ?? sequences));
    return { ms: (this.#decodeMs ?? 0) * more, attentionMs: (this.#decodeAttentionMs ?? 0) * more };
  }
}
