// SPDX-License-Identifier: Apache-2.0
/** What the next step does: one token of everyone who decodes, and chunks of the prompts that wait. */
import { isVerified } from "../engine/attention.ts";
import type {
  ContextId,
  Engine,
  EngineLimits,
  StepResult,
  StepSequence,
} from "../engine/engine.ts";
import type { Job, Sequence } from "./job.ts";
import type { ChunkPace, Chunks } from "./pace.ts";

/** Most tokens of a sequence to score in a step: their log-probabilities are turned into objects at once. */
const MOST_SCORED_TOKENS = 512;

/** Tokens of the smallest chunk of a prompt that goes on: matrix products are quick from so many rows on. */
const LEAST_CHUNK = 32;
/** What the oldest prompt gets of a step's prefill when there are others. */
const OLDEST_SHARE = 0.75;

/** A sequence and how many of its tokens it feeds in this step. */
export interface BatchEntry {
  sequence: Sequence;
  tokens: number;
  /** A token is sampled after them. */
  samples: boolean;
  /** The sequence's context in this step; it may have another one, or none, when the step ended. */
  context: ContextId | null;
  /** The tokens that may be sampled; null: all of them. */
  allowed: Uint32Array | null;
}

export interface Batch {
  entries: BatchEntry[];
  prefillTokens: number;
  decodeTokens: number;
  /** The prefill, chunk by chunk. */
  prefill: Chunks;
}

/** Sequences of running jobs that have tokens to feed: until a job forks, only its root. */
function ready(jobs: readonly Job[]): { decodes: Sequence[]; prefills: Sequence[] } {
  const decodes: Sequence[] = [];
  const prefills: Sequence[] = [];
  for (const job of jobs) {
    if (job.state !== "running") continue;
    for (const sequence of job.stepped) {
      if (sequence.waitsFor !== null) continue;
      (sequence.feedable === 1 ? decodes : prefills).push(sequence);
    }
  }
  return { decodes, prefills };
}

/** Tokens of a chunk, at most so many. A deterministic job feeds whole pieces. */
function chunkOf(sequence: Sequence, most: number): number {
  const { job, feedable } = sequence;
  if (job.deterministic) return feedable <= most ? feedable : 0;
  const scoring = job.spec.scoreAlternatives !== null && job.scored < job.spec.prompt.length;
  return Math.min(feedable, most, scoring ? MOST_SCORED_TOKENS : Infinity);
}

/** The smallest chunk of a sequence that is worth a step. */
function leastOf({ job, feedable }: Sequence): number {
  return job.deterministic ? feedable : LEAST_CHUNK;
}

/** The whole chunks that matrix products work with, or all of a shorter rest. */
function wholeTokens(tokens: number, feedable: number): number {
  return tokens >= feedable ? feedable : Math.floor(tokens / LEAST_CHUNK) * LEAST_CHUNK;
}

/**
 * Shares the prefill of a step, of so much time and so many tokens: the oldest prompt gets three quarters of
 * the time, the rest goes to the others, those first that need the least, so that a short prompt isn't stuck
 * behind a long one. The oldest and the shortest get a small chunk whatever it takes.
 */
function sharePrefill(
  prefills: readonly Sequence[],
  pace: ChunkPace,
  ms: number,
  tokens: number,
): Map<Sequence, number> {
  const shares = new Map<Sequence, number>();
  const [oldest, ...others] = prefills;
  if (oldest === undefined) return shares;
  const left = { ms, tokens };
  const give = (sequence: Sequence, time: number, room: number, least = 0) => {
    const before = shares.get(sequence) ?? 0;
    const { length, feedable } = sequence;
    const fitting = pace.tokensIn(time, length + before) + before;
    const most = Math.max(wholeTokens(fitting, feedable), least);
    const share = chunkOf(sequence, Math.min(most, before + room));
    if (share <= before) return;
    shares.set(sequence, share);
    left.tokens -= share - before;
    left.ms -= pace.msOf(share, length) - pace.msOf(before, length);
  };
  const first = others.length === 0 ? 1 : OLDEST_SHARE;
  const room = oldest.job.deterministic ? left.tokens : Math.ceil(first * left.tokens);
  give(oldest, first * left.ms, room, leastOf(oldest));
  others.sort((a, b) => a.goal - a.length - (b.goal - b.length));
  for (const [i, sequence] of others.entries()) {
    if (left.tokens > 0) give(sequence, left.ms, left.tokens, i === 0 ? leastOf(sequence) : 0);
  }
  if (left.tokens > 0) give(oldest, left.ms, left.tokens);
  return shares;
}

/** Chooses who takes part: at most `most`, those first that were served longest ago. */
function served(sequences: Sequence[], most: number): Sequence[] {
  if (sequences.length <= most) return sequences;
  return sequences.toSorted((a, b) => a.lastStep - b.lastStep).slice(0, most);
}

/**
 * Plans a step. `jobs` are in the order of their age; `pace` knows how much prefill the neighbours' decode
 * can bear. The batch is empty when nobody can run.
 */
export function planStep(
  jobs: readonly Job[],
  limits: EngineLimits,
  pace: ChunkPace,
  step: number,
): Batch {
  const { decodes, prefills } = ready(jobs);
  const room = Math.max(1, limits.maxStepTokens - decodes.length);
  const shares = pace.lacksDecode(decodes.length)
    ? new Map<Sequence, number>()
    : sharePrefill(prefills, pace, pace.prefillMs(decodes.length), room);
  const most = Math.min(limits.maxStepSequences, limits.maxStepTokens);
  const prefill: { tokens: number; depth: number }[] = [];
  const batch: Batch = { entries: [], prefillTokens: 0, decodeTokens: 0, prefill };
  for (const sequence of served([...decodes, ...shares.keys()], most)) {
    const share = shares.get(sequence);
    const tokens = share ?? 1;
    const samples = sequence.job.forked && sequence.length + tokens === sequence.goal;
    batch.entries.push({
      sequence,
      tokens,
      samples,
      context: sequence.context,
      allowed: null,
    });
    if (share === undefined) batch.decodeTokens++;
    else {
      batch.prefillTokens += share;
      prefill.push({ tokens: share, depth: sequence.length });
    }
    sequence.lastStep = step;
  }
  return batch;
}

/** What a step gave, or what it threw. */
export type StepOutcome = { result: StepResult } | { error: unknown };

/** Runs entries, which have their contexts. */
export async function runStep(
  engine: Engine,
  entries: readonly BatchEntry[],
): Promise<StepOutcome> {
  try {
    return { result: await engine.step(entries.map(stepSequence)) };
  } catch (error) {
    return { error };
  }
}

/** An entry in the engine's words. It has its context. */
export function stepSequence(
  { sequence, tokens, samples, context, allowed }: BatchEntry,
): StepSequence {
  const { job, choice, length } = sequence;
  const { prompt, alternatives, scoreAlternatives, attention, embed } = job.spec;
  const end = length + tokens;
  const scores = scoreAlternatives !== null && job.scored < Math.min(end + 1, prompt.length);
  return {
    context: context!,
    tokens: sequence.tokens(length, end),
    sampling: samples ? sequence.sampling : null,
    allowed,
    choice,
    promptTokens: prompt.length,
    alternatives: samples ? alternatives : 0,
    ...(attention === null ? {} : {
      attention: {
        ...attention.params,
        from: attention.from,
        verify: samples && isVerified(attention, end - 1),
      },
    }),
    ...(embed ? { hidden: true } : {}),
    ...(scores ? { score: { nextToken: prompt[end] ?? -1, alternatives: scoreAlternatives } } : {}),
  };
}
