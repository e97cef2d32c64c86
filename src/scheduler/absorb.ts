// SPDX-License-Identifier: Apache-2.0
/** Takes in what a step gave: tokens, the end of a prompt, failures. Runs between two steps. */
import type { SequenceResult, StepFailure } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import { completes } from "./constrain.ts";
import type { Deliveries } from "./deliveries.ts";
import { engineFailure } from "./failures.ts";
import type { GivenLogprobs, Job, Sequence, TokenEnd } from "./job.ts";
import type { BatchEntry } from "./plan.ts";
import type { PrefixSharing } from "./prefix_sharing.ts";
import type { Roster } from "./roster.ts";

/** Times that a job may be run again because the engine had no memory for it. */
const MOST_REFUSALS = 3;

const SENTENCES: Record<StepFailure, string> = {
  cancelled: "The engine was stopped while it computed this request.",
  out_of_blocks: "The engine had no free KV block for this request.",
  out_of_memory:
    "There is no memory left for the lsh tables of this request. Try again when others have " +
    'ended, ask for "sounder": {"attention": "full"}, or give the server more memory or fewer tables.',
  context_full: "The request passed the engine's longest context.",
  not_finite: "The logits contain NaN or infinity; the model's weights may be damaged.",
  no_token: "No token of the model's vocabulary goes on with this answer within its constraint.",
  unknown_context: "The engine does not know this request's context.",
  invalid: "The engine refused this request's tokens or sampling parameters.",
};

/** What the absorber tells the scheduler. */
export interface AbsorberEvents {
  /** A job has made all its tokens. */
  finished(): void;
  failed(job: Job, failure: Failure): void;
}

export class Absorber {
  readonly #roster: Roster;
  readonly #sharing: PrefixSharing;
  readonly #deliveries: Deliveries;
  readonly #events: AbsorberEvents;
  /** The last step after which memory of `lsh` tables was freed. */
  #roomMade = -1;

  constructor(
    roster: Roster,
    sharing: PrefixSharing,
    deliveries: Deliveries,
    events: AbsorberEvents,
  ) {
    this.#roster = roster;
    this.#sharing = sharing;
    this.#deliveries = deliveries;
    this.#events = events;
  }

  /** Takes in the result of one entry. */
  absorb(entry: BatchEntry, result: SequenceResult): void {
    const { sequence, context, tokens } = entry;
    // Ended, cancelled or released meanwhile: the context is gone, and so is what it made.
    if (sequence.context !== context) return;
    const { job } = sequence;
    if (result.failure !== null) {
      this.#fail(job, result.failure);
      return;
    }
    sequence.length += tokens;
    if (result.given !== undefined) this.#score(job, sequence.length - tokens, result.given);
    if (result.hidden !== undefined) {
      this.#deliveries.hidden(job, sequence.length - tokens, result.hidden);
    }
    if (job.spec.progress && sequence.length < job.spec.prompt.length) {
      this.#deliveries.progress(job, sequence.length);
    }
    if (entry.samples) this.#take(sequence, result);
    else if (!job.forked && sequence.length === sequence.goal) this.#endPrompt(job);
  }

  #fail(job: Job, failure: StepFailure): void {
    const refused = failure === "out_of_blocks" || failure === "out_of_memory";
    if (failure === "out_of_memory" && this.#makeTableRoom(job)) return;
    if (failure === "out_of_blocks" && job.refusals++ < MOST_REFUSALS) {
      this.#roster.release(job);
      this.#sharing.forget();
      return;
    }
    this.#events.failed(job, new Failure(refused ? "memory" : "engine", SENTENCES[failure]));
  }

  /**
   * Frees memory of `lsh` tables, of which the ledger knows nothing: that of what lies idle, and the job goes on
   * with its KV; where only others that run have any, the job gives up its own. False: nobody else has any, or it
   * was in vain before.
   */
  #makeTableRoom(job: Job): boolean {
    // For all who were refused in this step.
    if (this.#roomMade === this.#roster.step) return true;
    if (job.refusals++ >= MOST_REFUSALS) return false;
    if (!this.#sharing.forgetTables()) {
      const others = this.#roster.jobs.filter((other) => other !== job);
      if (!others.some((other) => this.#sharing.hasTables(other))) return false;
      this.#roster.release(job);
      this.#sharing.forgetTables();
    }
    this.#roomMade = this.#roster.step;
    return true;
  }

  /** `given[i]` belongs to the token after position `start + i`. */
  #score(job: Job, start: number, given: GivenLogprobs): void {
    const from = job.scored - start - 1;
    const to = Math.min(given.length, job.spec.prompt.length - start - 1);
    if (from < 0 || to <= from) return;
    job.scored = start + 1 + to;
    this.#deliveries.scored(job, given.slice(from, to));
  }

  #take(sequence: Sequence, result: SequenceResult): void {
    const { generated, job: { spec } } = sequence;
    generated.push(result.token);
    let end: TokenEnd | null = null;
    if (spec.endTokens.has(result.token) && generated.length > spec.minTokens) end = "end_token";
    else if (completes(sequence, result.token, this.#events.failed)) end = "complete";
    else if (generated.length === spec.maxTokens) end = "length";
    if (sequence.job.dropped) return;
    this.#deliveries.token(sequence, result, end);
    if (end !== null && this.#roster.end(sequence)) this.#events.finished();
  }

  /** The root has run the prompt: the other choices start from there. */
  #endPrompt(job: Job): void {
    const { root } = job;
    if (job.spec.maxTokens === 0) {
      this.#deliveries.end(job);
      this.#roster.end(root);
      this.#events.finished();
      return;
    }
    try {
      for (const sequence of job.sequences) {
        if (sequence.ended || sequence === root) continue;
        this.#sharing.fork(root, sequence);
      }
      job.markForked();
    } catch (error) {
      this.#events.failed(job, engineFailure(error));
    }
  }
}
