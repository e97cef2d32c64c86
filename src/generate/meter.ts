// SPDX-License-Identifier: Apache-2.0
/** Times one generation and tells the observer. */
import type { GenerationTiming, Observer, Outcome } from "../observer.ts";
import type { Usage } from "../types.ts";

export class Meter {
  readonly #observer: Observer | undefined;
  readonly #usage: Readonly<Usage>;
  readonly #now: () => number;
  readonly #submitted: number;
  /** When each choice had its last token; null before its first. */
  readonly #lastToken: (number | null)[];
  /** Choices that have not ended. */
  readonly #open: Set<number>;
  #startedMs: number | null = null;
  #firstTokenMs: number | null = null;
  #lastTokenMs: number | null = null;
  #prompted = false;

  /** `usage` is that of the generation, which changes as it goes on. */
  constructor(
    observer: Observer | undefined,
    usage: Readonly<Usage>,
    choices: number,
    now: () => number = () => performance.now(),
  ) {
    this.#observer = observer;
    this.#usage = usage;
    this.#now = now;
    this.#submitted = now();
    this.#lastToken = new Array(choices).fill(null);
    this.#open = new Set(this.#lastToken.keys());
  }

  get firstTokenMs(): number | null {
    return this.#firstTokenMs;
  }

  /** Its prompt begins to be computed. */
  started(): void {
    this.#startedMs ??= this.#now() - this.#submitted;
  }

  preempted(): void {
    this.#observer?.preempted();
  }

  token(choice: number): void {
    const now = this.#now();
    this.#prompt();
    if (this.#firstTokenMs === null) {
      this.#firstTokenMs = now - this.#submitted;
      this.#observer?.firstToken(this.#firstTokenMs);
    }
    const last = this.#lastToken[choice]!;
    this.#observer?.token(last === null ? null : now - last);
    this.#lastToken[choice] = now;
    this.#lastTokenMs = now - this.#submitted;
  }

  /** A choice ended by itself. */
  finish(choice: number, outcome: Outcome): void {
    this.#prompt();
    this.#end([choice], outcome);
  }

  /** Whatever has not ended ends now. Does nothing when all has. */
  stop(outcome: Outcome): void {
    this.#end([...this.#open], outcome);
  }

  #prompt(): void {
    if (this.#prompted) return;
    this.#prompted = true;
    const { promptTokens, cachedTokens } = this.#usage;
    this.#observer?.prompt(promptTokens, cachedTokens);
  }

  #end(choices: readonly number[], outcome: Outcome): void {
    for (const choice of choices) {
      if (!this.#open.delete(choice)) continue;
      this.#observer?.choiceEnded(outcome);
      if (this.#open.size === 0) this.#observer?.ended(this.#usage, this.#timing());
    }
  }

  #timing(): GenerationTiming {
    const between = (from: number | null, to: number | null) =>
      from === null || to === null ? null : to - from;
    return {
      queueMs: this.#startedMs,
      prefillMs: between(this.#startedMs, this.#firstTokenMs),
      decodeMs: between(this.#firstTokenMs, this.#lastTokenMs),
      totalMs: this.#now() - this.#submitted,
    };
  }
}
