// SPDX-License-Identifier: Apache-2.0
/** One line of the log for each request, written when all of it has ended; never a word of a prompt. */
import type { Generation } from "../src/types.ts";
import { addUsage, NO_USAGE } from "./usage.ts";

/** How the generations of a request ended. */
export type JobOutcome = "ok" | "cancelled" | "error";

/** The line's fields, in its order. Those that say nothing about this request are absent. */
export interface RequestEntry {
  id: string;
  method: string;
  path: string;
  status: number;
  duration_ms: number;
  /** The error's code, or what became of an answer that had begun. */
  error?: string;
  model?: string;
  stream?: boolean;
  prompt_tokens?: number;
  cached_tokens?: number;
  completion_tokens?: number;
  /** To the first token. */
  ttft_ms?: number;
  attention?: string;
  rows_read?: number;
  rows_total?: number;
}

/** What is known of a request that is being answered. */
export class RequestRecord {
  readonly #started = performance.now();
  readonly #entry: RequestEntry;
  readonly #written: (entry: RequestEntry) => void;
  #usage = NO_USAGE;
  /** The handler, and generations that go on after it returned. */
  #open = 1;

  constructor(id: string, method: string, path: string, written: (entry: RequestEntry) => void) {
    this.#entry = { id, method, path, status: 0, duration_ms: 0 };
    this.#written = written;
  }

  /** The handler returned, or threw an error with this code. */
  answered(status: number, error: string | null): void {
    this.#entry.status = status;
    if (error !== null) this.#entry.error = error;
    this.#close();
  }

  /** What is asked for was understood. */
  asks(model: string, stream: boolean): void {
    Object.assign(this.#entry, { model, stream });
  }

  /** Generations were admitted, and end with {@linkcode ended}. */
  generating(): void {
    this.#open++;
  }

  ended(generations: readonly Generation[], outcome: JobOutcome): void {
    const usage = generations.map((one) => one.usage).reduce(addUsage, this.#usage);
    this.#usage = usage;
    const firsts = generations.map((one) => one.firstTokenMs).filter((ms) => ms !== null);
    const { sampled } = usage;
    Object.assign(this.#entry, {
      ...(outcome === "ok" ? {} : { error: outcome }),
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
      ...(firsts.length === 0 ? {} : { ttft_ms: rounded(Math.min(...firsts)) }),
      attention: usage.attention,
      ...(sampled.tokens === 0
        ? {}
        : { rows_read: rounded(sampled.rowsRead), rows_total: rounded(sampled.rowsTotal) }),
    });
    this.#close();
  }

  #close(): void {
    if (--this.#open > 0) return;
    this.#entry.duration_ms = rounded(performance.now() - this.#started);
    this.#written(this.#entry);
  }
}

function rounded(value: number): number {
  return Math.round(10 * value) / 10;
}

/** The line for people. */
export function entryText(entry: RequestEntry): string {
  const { id, method, path, status, duration_ms, ...rest } = entry;
  const fields = Object.entries(rest).map(([name, value]) => ` ${name}=${value}`).join("");
  return `${method} ${path} ${status} ${duration_ms} ms ${id}${fields}`;
}
