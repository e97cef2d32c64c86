// SPDX-License-Identifier: Apache-2.0
/** The generations behind one HTTP request: admitted together, cancelled together. */
import { Failure } from "../src/errors.ts";
import type { Generation, GenerationEvent, GenerationRequest, Service } from "../src/types.ts";
import { merge } from "./merge.ts";

/** An event and the prompt whose generation it belongs to. */
export interface JobEvent {
  prompt: number;
  event: GenerationEvent;
}

/** All generations of a request. Ends them when the client goes away. */
export class Job {
  readonly #generations: Generation[] = [];
  readonly #signal: AbortSignal;
  #cancelled = false;
  readonly #abort = () => this.cancel();

  /** Admits all requests or none: throws what the service threw for the first that it refused. */
  constructor(service: Service, requests: readonly GenerationRequest[], signal: AbortSignal) {
    this.#signal = signal;
    try {
      for (const request of requests) this.#generations.push(service.generate(request));
    } catch (error) {
      this.cancel();
      throw error;
    }
    signal.addEventListener("abort", this.#abort, { once: true });
    if (signal.aborted) this.cancel();
  }

  /** Nobody waits for the answer any more. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Ends every generation now. Does nothing when they have ended. */
  cancel(): void {
    this.#cancelled = true;
    this.#release();
  }

  /** Everything that happens, in the order in which it happens; to be read once. */
  async *events(): AsyncGenerator<JobEvent> {
    let left = this.#generations.length;
    try {
      for await (const { source, value } of merge(this.#generations)) {
        if (this.#cancelled) return;
        if (value.type === "done") left--;
        yield { prompt: source, event: value };
      }
    } finally {
      this.#release();
    }
    if (left > 0 && !this.#cancelled) {
      throw new Failure(
        "unavailable",
        "The server ended this request before it was finished, because it is stopping",
      );
    }
  }

  #release(): void {
    this.#signal.removeEventListener("abort", this.#abort);
    for (const generation of this.#generations) generation.cancel();
  }
}
