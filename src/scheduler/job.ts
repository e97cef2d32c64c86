// SPDX-License-Identifier: Apache-2.0
/** What the scheduler works on: a job is a request in tokens, a sequence is one of its choices. */
import { type JobAttention, sharesBlocks } from "../engine/attention.ts";
import {
  BLOCK_TOKENS,
  type ContextId,
  type SamplingParams,
  type SequenceResult,
} from "../engine/engine.ts";
import { type Provenance, provenanceOf } from "../engine/provenance.ts";
import type { Constraint, Matcher } from "../constraint/constraint.ts";
import type { Failure } from "../errors.ts";
import { blocksOfForks, blocksOfTokens, RESERVED_TOKENS } from "./memory.ts";
import type { JobOptions } from "./options.ts";
import type { Entry } from "./prefix_cache.ts";
import { HEAD_START_MS, type Priority } from "./priority.ts";

/** A request as the scheduler needs it; everything about text stays with the {@linkcode JobOutput}. */
export interface JobSpec {
  prompt: Int32Array;
  n: number;
  sampling: SamplingParams;
  /** Instead of `sampling` for the first `minTokens` tokens of a choice: draws no end token. */
  openingSampling: SamplingParams;
  /** What each choice must look like; null: anything. */
  constraint: Constraint | null;
  /** Most tokens of a choice; 0 runs the prompt only. */
  maxTokens: number;
  minTokens: number;
  endTokens: ReadonlySet<number>;
  /** Most likely tokens to report beside each sampled one. */
  alternatives: number;
  /** Score the prompt with so many alternatives; null: don't. */
  scoreAlternatives: number | null;
  /** Add up the prompt's hidden states. */
  embed: boolean;
  /** null: exact. */
  attention: JobAttention | null;
  /** KV is shared with jobs of the same scope. */
  cacheScope: string;
  priority: Priority;
  /** Milliseconds after which it fails; null: never. */
  timeoutMs: number | null;
  /** Its output wants to know how far the prompt has run. */
  progress: boolean;
}

/** Log-probabilities of given tokens, in their order. */
export type GivenLogprobs = NonNullable<SequenceResult["given"]>;

/** Why a choice ended, as far as its tokens tell. `complete`: its constraint lets nothing follow. */
export type TokenEnd = "end_token" | "complete" | "length";

/** Who gets what a job makes. Called while the next step runs; must not block. */
export interface JobOutput {
  /** True while so much is undelivered that no more should be made. */
  readonly stalled: boolean;
  /** It starts, and so many of its prompt's tokens need not be run. Called once. */
  started(cachedTokens: number): void;
  /** So many tokens of the prompt have run, or were there already; only with `progress`. */
  progress(processed: number): void;
  /** The prompt's tokens from index 1 on, in pieces. */
  scored(given: GivenLogprobs): void;
  /** The sum of the hidden states of the prompt's tokens from `start` on; from 0 on it starts over. */
  hidden(start: number, sum: Float32Array): void;
  /** A sampled token. Returns true when the text ended with it; then no more of this choice follow. */
  token(choice: number, result: SequenceResult, end: TokenEnd | null): boolean;
  /** A choice ended without a token (`maxTokens` is 0). */
  end(choice: number): void;
  fail(failure: Failure): void;
  /** Its KV was given up for others; it will be computed again. */
  preempted(): void;
}

/** One choice of a job: the tokens it has, and how many of them the engine has seen. */
export class Sequence {
  readonly job: Job;
  readonly choice: number;
  readonly generated: number[] = [];
  /** Follows its constraint. */
  readonly matcher: Matcher | null;
  context: ContextId | null = null;
  /** Tokens in the context. */
  length = 0;
  /** Will not be stepped again. */
  ended = false;
  /** Step it took part in last; a new one counts as just served. */
  lastStep = 0;
  /** Others may fork its context: its place in the prefix cache. */
  entry: Entry | null = null;
  /** It starts when this one has so many tokens. */
  waitsFor: { entry: Entry; tokens: number } | null = null;

  constructor(job: Job, choice: number) {
    this.job = job;
    this.choice = choice;
    this.matcher = job.spec.constraint?.matcher(job.spec.endTokens) ?? null;
  }

  /** Tokens that its context should hold before the next token can be sampled, or the job forked. */
  get goal(): number {
    const { spec: { prompt, embed }, forked } = this.job;
    if (forked) return prompt.length + this.generated.length;
    return embed ? prompt.length : prompt.length - 1;
  }

  /** Most tokens that it may feed in one step. */
  get feedable(): number {
    const missing = this.goal - this.length;
    if (!this.job.deterministic) return missing;
    const { together, pieceTokens } = this.job;
    if (this.length >= together) return 1;
    return Math.min(missing, together - this.length, pieceTokens - this.length % pieceTokens);
  }

  /** Where its KV comes from. */
  get provenance(): Provenance {
    return provenanceOf(this.job.spec.attention, this.choice);
  }

  get sampling(): SamplingParams {
    const { spec } = this.job;
    return this.generated.length < spec.minTokens ? spec.openingSampling : spec.sampling;
  }

  /** The tokens from `start` to `end` of prompt and generated tokens together. */
  tokens(start: number, end: number): Int32Array {
    const { prompt } = this.job.spec;
    if (end <= prompt.length) return prompt.subarray(start, end);
    const tokens = new Int32Array(end - start);
    if (start < prompt.length) tokens.set(prompt.subarray(start));
    const first = Math.max(0, start - prompt.length);
    const generated = this.generated.slice(first, end - prompt.length);
    tokens.set(generated, tokens.length - generated.length);
    return tokens;
  }
}

/**
 * - `waiting`: in the queue, holds nothing
 * - `running`: takes part in steps
 * - `paused`: keeps its KV, is not stepped
 * - `released`: admitted, its KV given up; it is made again from the tokens
 * - `ended`: finished, cancelled or failed
 */
export type JobState = "waiting" | "running" | "paused" | "released" | "ended";

export class Job {
  readonly spec: JobSpec;
  readonly output: JobOutput;
  readonly sequences: Sequence[];
  state: JobState = "waiting";
  /** KV blocks and contexts that the ledger keeps for it. */
  blocks = 0;
  contexts = 0;
  /** Prompt tokens whose log-probability is known; nothing predicts the first one. */
  scored = 1;
  /** Times that the engine had no block for it. */
  refusals = 0;
  /** Cancelled or failed: what it still makes is thrown away. */
  dropped = false;
  /** Its place among all jobs: when it came, by the clock and as a number, and its priority. */
  readonly due: number;
  readonly number: number;
  /** Its output knows that it started. */
  started = false;
  /** Aborts when it has ended, however it did. */
  readonly ending = new AbortController();
  #forked = false;
  readonly #reservedTokens: number;
  /** See {@linkcode JobOptions}. */
  readonly deterministic: boolean;
  readonly pieceTokens: number;

  /** `arrival`: the time, and how many jobs came before. */
  constructor(
    spec: JobSpec,
    output: JobOutput,
    options: JobOptions = {},
    arrival: { time: number; number: number } = { time: 0, number: 0 },
  ) {
    this.due = arrival.time - HEAD_START_MS[spec.priority];
    this.number = arrival.number;
    this.spec = spec;
    this.output = output;
    this.#reservedTokens = options.reservedTokens ?? RESERVED_TOKENS;
    this.deterministic = options.deterministic ?? false;
    this.pieceTokens = options.pieceTokens ?? BLOCK_TOKENS;
    const count = spec.maxTokens === 0 ? 1 : spec.n;
    this.sequences = Array.from({ length: count }, (_, choice) => new Sequence(this, choice));
    this.forget();
  }

  /**
   * False while its first live sequence runs the prompt without the last token for all of them, or when
   * running the prompt is all there is to do.
   */
  get forked(): boolean {
    return this.#forked;
  }

  /** The root has run the prompt, and the others are forks of it now. */
  markForked(): void {
    this.#forked = true;
  }

  end(): void {
    this.state = "ended";
    this.ending.abort();
  }

  /** No context exists (any more): the sequences have to start over. */
  forget(): void {
    for (const sequence of this.sequences) {
      sequence.context = null;
      sequence.waitsFor = null;
      sequence.length = 0;
    }
    this.#forked = this.spec.maxTokens > 0 &&
      (this.liveCount === 1 || this.spec.prompt.length === 1);
  }

  /** Whether it goes before another one. */
  precedes(other: Job): boolean {
    return this.due < other.due || (this.due === other.due && this.number < other.number);
  }

  /** First tokens that a deterministic job feeds in chunks; those after them are fed alone. */
  get together(): number {
    const { n, prompt } = this.spec;
    return n > 1 ? prompt.length - 1 : prompt.length;
  }

  get sharesBlocks(): boolean {
    return sharesBlocks(this.spec.attention);
  }

  /** Nothing is to be run: nobody asks for tokens, nor anything of the prompt. */
  get isEmpty(): boolean {
    const { maxTokens, scoreAlternatives, prompt, embed } = this.spec;
    return maxTokens === 0 && !embed && (scoreAlternatives === null || prompt.length === 1);
  }

  get liveCount(): number {
    let count = 0;
    for (const sequence of this.sequences) if (!sequence.ended) count++;
    return count;
  }

  /** The sequence that runs the prompt until the job forks. */
  get root(): Sequence {
    return this.sequences.find((sequence) => !sequence.ended)!;
  }

  /** The sequences that steps go on with. */
  get stepped(): Sequence[] {
    return this.#forked ? this.sequences.filter((sequence) => !sequence.ended) : [this.root];
  }

  /** Blocks that its contexts hold now. */
  heldBlocks(): number {
    if (!this.#forked) return blocksOfTokens(this.root.length);
    return this.#blocks((sequence) => sequence.length);
  }

  /** Blocks that it needs to go on by one token a choice. */
  neededBlocks(): number {
    return this.#blocks((sequence) => this.spec.prompt.length + sequence.generated.length);
  }

  /** Blocks that it asks for when it is admitted or resumed. */
  wantedBlocks(): number {
    const { prompt, maxTokens } = this.spec;
    return this.#blocks(({ generated }) =>
      prompt.length + Math.min(maxTokens, generated.length + this.#reservedTokens)
    );
  }

  /** Blocks of its choices at their longest. */
  mostBlocks(): number {
    const { prompt, maxTokens } = this.spec;
    return this.#blocks(() => prompt.length + maxTokens);
  }

  #blocks(length: (sequence: Sequence) => number): number {
    const lengths: number[] = [];
    for (const sequence of this.sequences) if (!sequence.ended) lengths.push(length(sequence));
    return blocksOfForks(this.spec.prompt.length, lengths, this.sharesBlocks);
  }
}

/** Puts a job into its place: behind all that it doesn't precede. */
export function insertInOrder(jobs: Job[], job: Job): void {
  const place = jobs.findIndex((other) => job.precedes(other));
  jobs.splice(place < 0 ? jobs.length : place, 0, job);
}
