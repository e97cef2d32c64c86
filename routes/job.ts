// SPDX-License-Identifier: Apache-2.0
/** The generations behind one HTTP request: admitted together, cancelled together. */
import { Failure } from "../src/errors.ts";
import type { Generation, GenerationEvent, GenerationRequest, Service } from "../src/types.ts";
import { merge } from "./merge.ts";
import type { JobOutcome, RequestRecord } from "./request_record.ts";

/** An event and the prompt whose generation it belongs to. */
export interface JobEvent {
  prompt: number;
  event: GenerationEvent;
}

/** All generations of a request. Ends them when the client goes away. */
export class Job {
  readonly #generations: Generation[] = [];
  readonly #signal: AbortSignal;
  readonly #record: RequestRecord;
  #cancelled = false;
  #ended = false;
  readonly #abort = () => this.cancel();

  /** Admits all requests or none: throws what the service threw for the first that it refused. */
  constructor(
    service: Service,
    requests: readonly GenerationRequest[],
    signal: AbortSignal,
    record: RequestRecord,
  ) {
    this.#signal = signal;
    this.#record = record;
    try {
      for (const request of requests) this.#generations.push(service.generate(request));
    } catch (error) {
      for (const generation of this.#generations) generation.cancel();
      throw error;
    }
    record.generating();
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
    this.#release("cancelled");
  }

  /** Everything that happens, in the order in which it happens; to be read once. */
  async *events(): AsyncGenerator<JobEvent> {
    let left = this.#generations.length;
    let outcome: JobOutcome = "cancelled";
    try {
      for await (const { source, value } of merge(this.#generations)) {
        if (this.#cancelled) return;
        if (value.type === "done") left--;
        if (left === 0) outcome = "ok";
        yield { prompt: source, event: value };
      }
      if (left > 0) outcome = "error";
    } catch (error) {
      outcome = "error";
      throw error;
    } finally {
      this.#release(outcome);
    }
    if (left > 0 && !this.#cancelled) {
      throw new Failure(
        "unavailable",
        "The server ended this request before it was finished, because it is stopping",
      );
    }
  }

  #release(outcome: JobOutcome): void {
    this.#signal.removeEventListener("abort", this.#abort);
    for (const generation of this.#generations) generation.cancel();
    if (this.#ended) return;
    this.#ended = true;
    this.#record.ended(this.#generations, outcome);
  }
}
