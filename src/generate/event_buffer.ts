// SPDX-License-Identifier: Apache-2.0
/** Events between the decode loop, which must not wait, and a reader that may be slow. */
import type { GenerationEvent } from "../types.ts";

interface Reader {
  resolve(result: IteratorResult<GenerationEvent, undefined>): void;
  reject(error: unknown): void;
}

interface Entry {
  event: GenerationEvent;
  /** Tokens that the event stands for. */
  weight: number;
}

export class EventBuffer implements AsyncIterator<GenerationEvent, undefined> {
  readonly #limit: number;
  readonly #entries: Entry[] = [];
  readonly #readers: Reader[] = [];
  readonly #hooks: { drained(): void; left(): void };
  #undelivered = 0;
  #ended = false;
  #error: Error | null = null;

  /** `drained`: no longer full; `left`: the reader leaves before the end. */
  constructor(limit: number, hooks: { drained(): void; left(): void }) {
    this.#limit = limit;
    this.#hooks = hooks;
  }

  /** More tokens are undelivered than the limit. */
  get full(): boolean {
    return this.#undelivered > this.#limit;
  }

  get ended(): boolean {
    return this.#ended;
  }

  push(event: GenerationEvent, weight: number): void {
    if (this.#ended) return;
    const reader = this.#readers.shift();
    if (reader !== undefined) return reader.resolve({ done: false, value: event });
    this.#entries.push({ event, weight });
    this.#undelivered += weight;
  }

  /** No more events come. An error is thrown to the reader after the events before it. */
  end(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const reader of this.#readers.splice(0)) this.#settleEnd(reader);
  }

  /** Ends it and forgets what was not read. */
  discard(): void {
    this.#ended = true;
    this.#error = null;
    this.#entries.length = 0;
    this.#undelivered = 0;
    for (const reader of this.#readers.splice(0)) this.#settleEnd(reader);
  }

  next(): Promise<IteratorResult<GenerationEvent, undefined>> {
    const entry = this.#entries.shift();
    if (entry !== undefined) {
      const wasFull = this.full;
      this.#undelivered -= entry.weight;
      if (wasFull && !this.full) this.#hooks.drained();
      return Promise.resolve({ done: false, value: entry.event });
    }
    return new Promise((resolve, reject) => {
      if (this.#ended) this.#settleEnd({ resolve, reject });
      else this.#readers.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<GenerationEvent, undefined>> {
    this.#hooks.left();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The error is thrown once, as generators do. */
  #settleEnd(reader: Reader): void {
    const error = this.#error;
    this.#error = null;
    if (error !== null) reader.reject(error);
    else reader.resolve({ done: true, value: undefined });
  }
}
