// SPDX-License-Identifier: Apache-2.0
/** Time that goes on only when everybody sleeps. */
import type { Clock } from "../../../src/scheduler/clock.ts";

export class VirtualClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();

  now(): number {
    return this.#now;
  }

  /** Until when someone sleeps, in the order they went to sleep. */
  get due(): number[] {
    return [...this.#sleepers].map(({ until }) => until);
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const sleeper = {
        until: this.#now + ms,
        wake: () => {
          this.#sleepers.delete(sleeper);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", sleeper.wake, { once: true });
    });
  }

  /** Time goes on by so much. */
  advance(ms: number): void {
    this.#now += ms;
    for (const sleeper of [...this.#sleepers]) if (sleeper.until <= this.#now) sleeper.wake();
  }

  /** Lets time go on, from one waking to the next, until it is done. */
  async run(done: () => boolean): Promise<void> {
    for (;;) {
      await new Promise((settled) => setTimeout(settled));
      if (done()) return;
      const next = [...this.#sleepers].sort((a, b) => a.until - b.until)[0];
      if (next === undefined) throw new Error("Everybody waits for ever.");
      this.#now = next.until;
      next.wake();
    }
  }
}
