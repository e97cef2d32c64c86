// SPDX-License-Identifier: Apache-2.0
/** What a step gave the outputs, kept until the next step runs: making text then costs no time. */
import type { SequenceResult } from "../engine/engine.ts";
import type { GivenLogprobs, Job, Sequence, TokenEnd } from "./job.ts";

type Delivery =
  | { kind: "scored"; job: Job; given: GivenLogprobs }
  | { kind: "hidden"; job: Job; start: number; sum: Float32Array }
  | {
    kind: "token";
    job: Job;
    sequence: Sequence;
    result: SequenceResult;
    end: TokenEnd | null;
  }
  | { kind: "progress"; job: Job; processed: number }
  | { kind: "end"; job: Job };

/** What may come of a delivery. */
export interface DeliveryEvents {
  /** The text of a sequence ended with this token. */
  textEnded(sequence: Sequence): void;
  /** The output threw. */
  failed(job: Job, error: unknown): void;
}

export class Deliveries {
  #pending: Delivery[] = [];

  get length(): number {
    return this.#pending.length;
  }

  scored(job: Job, given: GivenLogprobs): void {
    this.#pending.push({ kind: "scored", job, given });
  }

  hidden(job: Job, start: number, sum: Float32Array): void {
    this.#pending.push({ kind: "hidden", job, start, sum });
  }

  token(sequence: Sequence, result: SequenceResult, end: TokenEnd | null): void {
    this.#pending.push({ kind: "token", job: sequence.job, sequence, result, end });
  }

  progress(job: Job, processed: number): void {
    this.#pending.push({ kind: "progress", job, processed });
  }

  /** The prompt was all there was to run. */
  end(job: Job): void {
    this.#pending.push({ kind: "end", job });
  }

  /** Hands everything over, in order; what belongs to dropped jobs is thrown away. */
  flush(events: DeliveryEvents): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const delivery of pending) {
      if (delivery.job.dropped) continue;
      try {
        deliver(delivery, events);
      } catch (error) {
        events.failed(delivery.job, error);
      }
    }
  }
}

function deliver(delivery: Delivery, events: DeliveryEvents): void {
  const { output, spec } = delivery.job;
  if (delivery.kind === "scored") {
    output.scored(delivery.given);
  } else if (delivery.kind === "hidden") {
    output.hidden(delivery.start, delivery.sum);
  } else if (delivery.kind === "progress") {
    output.progress(delivery.processed);
  } else if (delivery.kind === "token") {
    const { sequence, result, end } = delivery;
    const ended = output.token(sequence.choice, result, end);
    if (ended && end === null) events.textEnded(sequence);
  } else {
    for (let choice = 0; choice < spec.n; choice++) output.end(choice);
  }
}
