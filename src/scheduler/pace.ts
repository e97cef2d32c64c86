// SPDX-License-Identifier: Apache-2.0
/** Measured speed: how large a prefill chunk may be beside decoding neighbours, and when to try again. */

/** Largest and smallest chunk beside neighbours that decode, in tokens. */
const MOST_CHUNK_TOKENS = 512;
const LEAST_CHUNK_TOKENS = 64;
/** Milliseconds that a chunk may add to a step in which others decode. */
const CHUNK_TARGET_MS = 150;
/** A step with fewer prefill tokens says little about prefill. */
const MEASURABLE_TOKENS = 16;
/** Weight of the newest measurement in a moving average. */
const NEWEST = 0.25;
/** Bounds of Retry-After in seconds (clients ignore more than a minute), and a guess before anything ended. */
const MOST_RETRY_SECONDS = 60;
const UNKNOWN_RETRY_SECONDS = 5;

function blend(average: number | null, value: number): number {
  return average === null ? value : average + NEWEST * (value - average);
}

export class Pace {
  #decodeStepMs: number | null = null;
  #prefillTokenMs: number | null = null;
  #busyMsPerJob: number | null = null;
  #busyMs = 0;

  /** Tokens of a prefill chunk that keep the neighbours' decode responsive. */
  get chunkTokens(): number {
    if (this.#prefillTokenMs === null) return MOST_CHUNK_TOKENS;
    const tokens = CHUNK_TARGET_MS / Math.max(this.#prefillTokenMs, 1e-6);
    const whole = Math.floor(tokens / LEAST_CHUNK_TOKENS) * LEAST_CHUNK_TOKENS;
    return Math.min(MOST_CHUNK_TOKENS, Math.max(LEAST_CHUNK_TOKENS, whole));
  }

  /** A step took so long for so many prefill tokens and decoded tokens. */
  stepped(ms: number, prefillTokens: number, decodeTokens: number): void {
    this.#busyMs += ms;
    if (prefillTokens === 0) {
      this.#decodeStepMs = blend(this.#decodeStepMs, ms);
    } else if (prefillTokens >= MEASURABLE_TOKENS) {
      const decodeMs = decodeTokens > 0 ? this.#decodeStepMs ?? 0 : 0;
      const tokenMs = Math.max(0, ms - decodeMs) / prefillTokens;
      this.#prefillTokenMs = blend(this.#prefillTokenMs, tokenMs);
    }
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
}
