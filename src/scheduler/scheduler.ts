// SPDX-License-Identifier: Apache-2.0
/**
 * The batched decode loop. One step runs at a time; between two steps requests join and leave. What a step
 * sampled is known before the next one is planned, so whoever ended by a token or by length is not in it
 * (and tokens are given as they are, never as LAST_SAMPLED: the loop knows them without making text of
 * them). Text is made while the next step runs; a choice that turns out to have ended with a stop string is
 * cancelled within that step, and what it still made is thrown away.
 */
import type { Engine, StepResult } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import type { Observer } from "../observer.ts";
import { Absorber } from "./absorb.ts";
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { Contexts } from "./contexts.ts";
import { Deliveries } from "./deliveries.ts";
import { Job, type JobOptions, type JobOutput, type JobSpec } from "./job.ts";
import { Pace } from "./pace.ts";
import { type Batch, type BatchEntry, planStep, stepSequence } from "./plan.ts";
import { Roster } from "./roster.ts";
import { WaitingQueue } from "./waiting.ts";

export interface SchedulerOptions extends JobOptions {
  /** Requests that may wait (default 64). */
  maxWaiting?: number;
  /** Prompt tokens that may wait in all (default: four contexts full). */
  maxWaitingTokens?: number;
  clock?: Clock;
  observer?: Pick<Observer, "step">;
}

/** What the owner of a submitted job can do with it. */
export interface JobHandle {
  /** Ends it and frees what it holds; nothing more is delivered. Does nothing when it has ended. */
  cancel(): void;
  /** Its output is no longer stalled. */
  resume(): void;
}

type StepOutcome = { result: StepResult } | { error: unknown };

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export class Scheduler {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #options: SchedulerOptions;
  readonly #queue: WaitingQueue;
  readonly #contexts: Contexts;
  readonly #roster: Roster;
  readonly #deliveries = new Deliveries();
  readonly #absorber: Absorber;
  readonly #pace = new Pace();
  /** Something changed since the loop looked last. */
  #woken = false;
  #wakeLoop: (() => void) | null = null;
  #whenEmpty: (() => void)[] = [];
  #accepting = true;
  #stopped = false;
  #closing: Promise<void> | null = null;
  readonly #loop: Promise<void>;

  constructor(engine: Engine, options: SchedulerOptions = {}) {
    this.#engine = engine;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#options = options;
    const { limits } = engine;
    this.#queue = new WaitingQueue(
      options.maxWaiting ?? 64,
      options.maxWaitingTokens ?? 4 * limits.context,
    );
    this.#contexts = new Contexts(engine);
    this.#roster = new Roster(limits, this.#contexts, this.#queue);
    this.#absorber = new Absorber(this.#roster, this.#contexts, this.#deliveries, {
      finished: () => this.#pace.finished(),
      failed: (job, failure) => this.#drop(job, failure),
    });
    this.#loop = this.#run();
  }

  /** Admitted requests. */
  get running(): number {
    return this.#roster.jobs.length;
  }

  /** Accepted requests that are not admitted yet. */
  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Admits a job, or lets it wait.
   * @throws {Failure} `too_many_requests` when the queue is full, `unavailable` when shutting down.
   */
  submit(spec: JobSpec, output: JobOutput): JobHandle {
    if (!this.#accepting) throw shuttingDown();
    const job = new Job(spec, output, this.#options);
    const { kvBlocks, maxContexts } = this.#engine.limits;
    if (job.mostBlocks() > kvBlocks || job.liveCount > maxContexts) {
      throw new RangeError(`Cannot schedule ${job.mostBlocks()} blocks: ${kvBlocks} are all.`);
    }
    if (spec.maxTokens === 0 && (spec.scoreAlternatives === null || spec.prompt.length === 1)) {
      job.state = "ended";
      this.#deliveries.end(job);
    } else if (this.#queue.length > 0 || !this.#roster.tryAdmit(job)) {
      this.#enqueue(job);
    }
    this.#wake();
    return { cancel: () => this.#drop(job, null), resume: () => this.#wake() };
  }

  #enqueue(job: Job): void {
    if (!this.#queue.accepts(job)) {
      const waiting = this.#queue.length;
      const retryAfterSeconds = this.#pace.retryAfterSeconds(waiting);
      throw new Failure(
        "too_many_requests",
        `The server is busy and ${waiting} requests wait already. ` +
          `Please try again in ${retryAfterSeconds} seconds.`,
        { retryAfterSeconds },
      );
    }
    this.#queue.push(job);
  }

  /** Takes no more jobs, lets the others finish, and ends after `ms` milliseconds those that haven't. */
  async drain(ms: number): Promise<void> {
    this.#accepting = false;
    if (this.#stopped) return await this.#loop;
    const timer = new AbortController();
    const empty = new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
    this.#wake();
    await Promise.race([empty, this.#clock.sleep(ms, timer.signal)]);
    timer.abort();
    this.#dropAll(shuttingDown());
    await empty;
  }

  /** Ends all jobs and the loop. The engine stays open. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#accepting = false;
    this.#dropAll(shuttingDown());
    this.#stopped = true;
    this.#wake();
    await this.#loop;
  }

  #wake(): void {
    this.#woken = true;
    this.#wakeLoop?.();
  }

  /** Waits until something changes; returns at once when it has since the last look. */
  async #sleep(): Promise<void> {
    if (!this.#woken) await new Promise<void>((resolve) => this.#wakeLoop = resolve);
    this.#wakeLoop = null;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#woken = false;
      try {
        await this.#turn();
      } catch (error) {
        this.#contexts.end();
        this.#dropAll(
          new Failure("engine", `The scheduler failed: ${sentence(error)}`, {
            cause: error,
          }),
        );
      }
    }
    this.#deliver();
    this.#reportEmpty();
  }

  /** One step, or sleep when there is nothing to do. */
  async #turn(): Promise<void> {
    this.#roster.settle();
    const { jobs, step } = this.#roster;
    const batch = planStep(jobs, this.#engine.limits, this.#pace.chunkTokens, step);
    for (const entry of batch.entries) this.#giveContext(entry);
    batch.entries = batch.entries.filter(({ sequence }) => !sequence.job.dropped);
    if (batch.entries.length > 0) {
      this.#roster.step++;
      await this.#step(batch);
    } else if (this.#deliveries.length > 0) {
      this.#deliver();
    } else {
      if (this.running + this.waiting === 0) this.#reportEmpty();
      await this.#sleep();
    }
  }

  #giveContext(entry: BatchEntry): void {
    const { sequence } = entry;
    if (sequence.job.dropped) return;
    try {
      sequence.context ??= this.#contexts.create();
      entry.context = sequence.context;
    } catch (error) {
      this.#drop(sequence.job, engineFailure(error));
    }
  }

  async #step({ entries, prefillTokens, decodeTokens }: Batch): Promise<void> {
    const started = this.#clock.now();
    this.#contexts.begin(entries.map((entry) => entry.context!));
    const step = this.#start(entries);
    let outcome: StepOutcome;
    try {
      this.#deliver();
    } finally {
      outcome = await step;
      this.#contexts.end();
    }
    const totalMs = this.#clock.now() - started;
    this.#pace.stepped(totalMs, prefillTokens, decodeTokens);
    this.#options.observer?.step({
      totalMs,
      stageMs: "error" in outcome ? null : outcome.result.stageMs,
      sequences: entries.length,
      prefillTokens,
      decodeTokens,
    });
    if ("error" in outcome) {
      const failure = engineFailure(outcome.error);
      for (const { sequence } of entries) {
        if (sequence.context !== null) this.#drop(sequence.job, failure);
      }
    } else {
      entries.forEach((entry, i) => this.#absorber.absorb(entry, outcome.result.sequences[i]!));
    }
  }

  async #start(entries: readonly BatchEntry[]): Promise<StepOutcome> {
    try {
      return { result: await this.#engine.step(entries.map(stepSequence)) };
    } catch (error) {
      return { error };
    }
  }

  #deliver(): void {
    this.#deliveries.flush({
      textEnded: (sequence) => {
        if (this.#roster.end(sequence)) this.#pace.finished();
      },
      failed: (job, error) =>
        this.#drop(
          job,
          new Failure("engine", `Cannot turn tokens into text: ${sentence(error)}`, {
            cause: error,
          }),
        ),
    });
  }

  /** Ends a job before it has finished. */
  #drop(job: Job, failure: Failure | null): void {
    if (job.dropped) return;
    job.dropped = true;
    if (job.state === "waiting") {
      this.#queue.remove(job);
      job.state = "ended";
    } else if (job.state !== "ended") {
      this.#roster.remove(job);
    }
    if (failure !== null) job.output.fail(failure);
    this.#wake();
  }

  #dropAll(failure: Failure): void {
    for (const job of [...this.#roster.jobs, ...this.#queue.jobs]) this.#drop(job, failure);
  }

  #reportEmpty(): void {
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }
}

function engineFailure(error: unknown): Failure {
  return new Failure("engine", `The engine failed: ${sentence(error)}`, { cause: error });
}

function shuttingDown(): Failure {
  return new Failure("unavailable", "The server is shutting down. Please try again later.", {
    retryAfterSeconds: 10,
  });
}
