// SPDX-License-Identifier: Apache-2.0
/**
 * The batched decode loop. One step runs at a time; between two steps requests join and leave. What a step
 * sampled is known before the next one is planned, so whoever ended by a token or by length is not in it
 * (and tokens are given as they are, never as LAST_SAMPLED: the loop knows them without making text of
 * them). Text is made while the next step runs; a choice that turns out to have ended with a stop string is
 * cancelled within that step, and what it still made is thrown away.
 */
import type { Engine } from "../engine/engine.ts";
import type { Failure } from "../errors.ts";
import { Absorber } from "./absorb.ts";
import { Bell } from "./bell.ts";
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { lookUpMasks } from "./constrain.ts";
import type { ContextCache } from "./context_cache.ts";
import { Contexts } from "./contexts.ts";
import { Deliveries } from "./deliveries.ts";
import {
  engineFailure,
  queueFull,
  schedulerFailure,
  shuttingDown,
  spoilsKv,
  textFailure,
  timedOut,
} from "./failures.ts";
import { Job, type JobOutput, type JobSpec } from "./job.ts";
import { Ledger } from "./memory.ts";
import { type JobHandle, MOST_WAITING, type SchedulerOptions, withPieces } from "./options.ts";
import { Pace } from "./pace.ts";
import { type Batch, planStep, runStep, type StepOutcome } from "./plan.ts";
import { PrefixCache } from "./prefix_cache.ts";
import { PrefixSharing } from "./prefix_sharing.ts";
import { Roster } from "./roster.ts";
import { WaitingQueue } from "./waiting.ts";

export type { JobHandle, SchedulerOptions } from "./options.ts";

export class Scheduler {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #options: SchedulerOptions;
  readonly #queue: WaitingQueue;
  readonly #contexts: Contexts;
  readonly #cache: PrefixCache | null;
  readonly #sharing: PrefixSharing;
  readonly #roster: Roster;
  readonly #deliveries = new Deliveries();
  readonly #absorber: Absorber;
  readonly #pace: Pace;
  /** Rung when something changed. */
  readonly #bell = new Bell();
  #whenEmpty: (() => void)[] = [];
  #between: (() => Promise<void>)[] = [];
  #submitted = 0;
  #accepting = true;
  #stopped = false;
  /** Why the engine is of no more use. */
  #lost: Failure | null = null;
  #closing: Promise<void> | null = null;
  readonly #loop: Promise<void>;

  constructor(engine: Engine, options: SchedulerOptions = {}) {
    this.#engine = engine;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#options = withPieces(options, engine.limits);
    this.#pace = new Pace(options.stepMs);
    this.#queue = new WaitingQueue(
      options.maxWaiting ?? MOST_WAITING,
      options.maxWaitingTokens ?? 4 * engine.limits.context,
    );
    this.#contexts = new Contexts(engine);
    const { kvBlocks, maxContexts } = engine.limits;
    const ledger = new Ledger(kvBlocks, maxContexts, () => this.#contexts.blocks.shared);
    this.#cache = options.prefixCache ?? true
      ? new PrefixCache(this.#contexts, ledger, this.#clock, () => this.#bell.ring())
      : null;
    this.#sharing = new PrefixSharing(this.#contexts, this.#cache);
    this.#roster = new Roster(ledger, this.#sharing, this.#queue);
    this.#absorber = new Absorber(this.#roster, this.#sharing, this.#deliveries, {
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

  /** KV that lies ready; null: switched off. Only its figures may be read outside of {@linkcode alone}. */
  get cache(): ContextCache | null {
    return this.#cache;
  }

  /** Runs something between two steps, alone with the engine; requests wait meanwhile. */
  alone<T>(work: () => T | Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = async () => {
      this.#contexts.begin([]);
      await Promise.try(work).then(resolve, reject);
      this.#contexts.end();
    };
    if (this.#stopped) reject(shuttingDown());
    else this.#between.push(run);
    this.#bell.ring();
    return promise;
  }

  /**
   * Admits a job, or lets it wait.
   * @throws {Failure} `too_many_requests` when the queue is full, `unavailable` when shutting down, `lost` when
   * the engine's GPU failed for good.
   */
  submit(spec: JobSpec, output: JobOutput): JobHandle {
    if (this.#lost !== null) throw this.#lost;
    if (!this.#accepting) throw shuttingDown();
    const arrival = { time: this.#clock.now(), number: this.#submitted++ };
    const job = new Job(spec, output, this.#options, arrival);
    const { kvBlocks, maxContexts } = this.#engine.limits;
    if (job.mostBlocks() > kvBlocks || job.liveCount > maxContexts) {
      throw new RangeError(`Cannot schedule ${job.mostBlocks()} blocks: ${kvBlocks} are all.`);
    }
    if (job.isEmpty) {
      job.end();
      this.#deliveries.end(job);
    } else if (this.#queue.first?.precedes(job) === true || !this.#roster.tryAdmit(job)) {
      this.#enqueue(job);
    }
    this.#limitTime(job);
    this.#bell.ring();
    return { cancel: () => this.#drop(job, null), resume: () => this.#bell.ring() };
  }

  /** Ends a job that takes longer than it or the server allows. */
  async #limitTime(job: Job): Promise<void> {
    const ms = Math.min(job.spec.timeoutMs ?? Infinity, this.#options.timeoutMs || Infinity);
    if (ms === Infinity) return;
    await this.#clock.sleep(ms, job.ending.signal);
    if (job.state !== "ended") this.#drop(job, timedOut(ms));
  }

  #enqueue(job: Job): void {
    if (!this.#queue.accepts(job)) {
      const waiting = this.#queue.length;
      throw queueFull(waiting, this.#pace.retryAfterSeconds(waiting));
    }
    this.#queue.push(job);
  }

  /** Takes no more jobs, lets the others finish, and ends after `ms` milliseconds those that haven't. */
  async drain(ms: number): Promise<void> {
    this.#accepting = false;
    if (this.#stopped) return await this.#loop;
    const timer = new AbortController();
    const empty = new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
    this.#bell.ring();
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
    this.#bell.ring();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#bell.hear();
      try {
        await this.#turn();
      } catch (error) {
        this.#contexts.end();
        this.#dropAll(schedulerFailure(error));
      }
    }
    for (const run of this.#between.splice(0)) await run();
    this.#deliver();
    this.#cache?.clear();
    this.#reportEmpty();
  }

  /** One step, or sleep when there is nothing to do. */
  async #turn(): Promise<void> {
    for (const run of this.#between.splice(0)) await run();
    this.#roster.settle();
    for (const job of [...this.#roster.jobs]) this.#giveContexts(job);
    const { jobs, step } = this.#roster;
    const batch = planStep(jobs, this.#engine.limits, this.#pace, step);
    lookUpMasks(batch, (job, failure) => this.#drop(job, failure));
    if (batch.entries.length > 0) {
      this.#roster.step++;
      await this.#step(batch);
    } else if (this.#deliveries.length > 0) {
      this.#deliver();
    } else {
      if (this.running + this.waiting === 0) this.#reportEmpty();
      await this.#bell.sleep();
    }
  }

  #giveContexts(job: Job): void {
    if (job.state !== "running") return;
    try {
      for (const sequence of job.stepped) {
        if (sequence.context === null) this.#sharing.start(sequence);
      }
    } catch (error) {
      this.#drop(job, engineFailure(error));
    }
  }

  async #step({ entries, prefill, prefillTokens, decodeTokens }: Batch): Promise<void> {
    this.#sharing.prepare(entries);
    const started = this.#clock.now();
    this.#contexts.begin(entries.map((entry) => entry.context!));
    const step = runStep(this.#engine, entries);
    let outcome: StepOutcome;
    try {
      this.#deliver();
    } finally {
      outcome = await step;
      this.#contexts.end();
    }
    const totalMs = this.#clock.now() - started;
    const stageMs = "error" in outcome ? null : outcome.result.stageMs;
    this.#pace.stepped({ totalMs, stageMs, prefill, decodeTokens });
    this.#options.observer?.step({
      totalMs,
      stageMs,
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

  #deliver(): void {
    this.#deliveries.flush({
      textEnded: (sequence) => {
        if (this.#roster.end(sequence)) this.#pace.finished();
      },
      failed: (job, error) => this.#drop(job, textFailure(error)),
    });
  }

  /** Ends a job before it has finished. */
  #drop(job: Job, failure: Failure | null): void {
    if (job.dropped) return;
    job.dropped = true;
    if (job.state === "waiting") {
      this.#queue.remove(job);
      job.end();
    } else if (job.state !== "ended") {
      this.#roster.remove(job, failure === null || !spoilsKv(failure));
    }
    if (failure !== null) job.output.fail(failure);
    this.#bell.ring();
    if (failure?.kind === "lost") this.#lose(failure);
  }

  #lose(failure: Failure): void {
    if (this.#lost !== null) return;
    this.#lost = failure;
    this.#dropAll(failure);
    this.#options.lost?.(failure);
  }

  #dropAll(failure: Failure): void {
    for (const job of [...this.#roster.jobs, ...this.#queue.jobs]) this.#drop(job, failure);
  }

  #reportEmpty(): void {
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }
}
