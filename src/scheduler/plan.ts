// SPDX-License-Identifier: Apache-2.0
/** What the next step does: one token of everyone who decodes, and chunks of the prompts that wait. */
import { isVerified } from "../engine/attention.ts";
import type { ContextId, EngineLimits, StepSequence } from "../engine/engine.ts";
import type { Job, Sequence } from "./job.ts";

/** Most tokens of a sequence to score in a step: their log-probabilities are turned into objects at once. */
const MOST_SCORED_TOKENS = 512;

/** A sequence and how many of its tokens it feeds in this step. */
export interface BatchEntry {
  sequence: Sequence;
  tokens: number;
  /** A token is sampled after them. */
  samples: boolean;
  /** The sequence's context in this step; it may have another one, or none, when the step ended. */
  context: ContextId | null;
}

export interface Batch {
  entries: BatchEntry[];
  prefillTokens: number;
  decodeTokens: number;
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

/**
 * Tokens of a chunk. None has a single token and none leaves one: engines compute a row alone otherwise than
 * among others, and with that rule only generated tokens are alone.
 */
function chunkOf(sequence: Sequence, most: number): number {
  const { job } = sequence;
  const scoring = job.spec.scoreAlternatives !== null && job.scored < job.spec.prompt.length;
  const limit = scoring ? Math.min(most, MOST_SCORED_TOKENS) : most;
  const { feedable } = sequence;
  if (feedable <= limit) return feedable;
  const tokens = feedable - limit === 1 ? limit - 1 : limit;
  return tokens > 1 ? tokens : 0;
}

/**
 * Shares the prefill tokens of a step: the oldest prompt gets three quarters of them, the rest goes to the
 * others, those first that need the least, so that a short prompt isn't stuck behind a long one.
 */
function sharePrefill(prefills: readonly Sequence[], budget: number): Map<Sequence, number> {
  const shares = new Map<Sequence, number>();
  const [oldest, ...others] = prefills;
  if (oldest === undefined) return shares;
  let left = budget;
  const give = (sequence: Sequence, most: number) => {
    const before = shares.get(sequence) ?? 0;
    const tokens = chunkOf(sequence, before + most);
    if (tokens > before) shares.set(sequence, tokens);
    left -= tokens - before;
  };
  const most = others.length === 0 ? left : Math.ceil(left * 0.75);
  give(oldest, most);
  // A step of one or two tokens cannot keep the rule, but the oldest must get on.
  if (shares.size === 0) {
    shares.set(oldest, most);
    left -= most;
  }
  others.sort((a, b) => a.feedable - b.feedable);
  for (const sequence of others) {
    if (left === 0) break;
    give(sequence, left);
  }
  if (left > 0) give(oldest, left);
  return shares;
}

/** Chooses who takes part: at most `most`, those first that were served longest ago. */
function served(sequences: Sequence[], most: number): Sequence[] {
  if (sequences.length <= most) return sequences;
  return sequences.toSorted((a, b) => a.lastStep - b.lastStep).slice(0, most);
}

/**
 * Plans a step. `jobs` are in the order of their age; `chunk` is how many prefill tokens the neighbours'
 * decode can bear. The batch is empty when nobody can run.
 */
export function planStep(
  jobs: readonly Job[],
  limits: EngineLimits,
  chunk: number,
  step: number,
): Batch {
  const { decodes, prefills } = ready(jobs);
  const room = Math.max(1, limits.maxStepTokens - decodes.length);
  const shares = sharePrefill(prefills, decodes.length === 0 ? room : Math.min(chunk, room));
  const most = Math.min(limits.maxStepSequences, limits.maxStepTokens);
  const batch: Batch = { entries: [], prefillTokens: 0, decodeTokens: 0 };
  for (const sequence of served([...decodes, ...shares.keys()], most)) {
    const share = shares.get(sequence);
    const tokens = share ?? 1;
    const samples = sequence.job.forked && sequence.length + tokens === sequence.goal;
    batch.entries.push({ sequence, tokens, samples, context: sequence.context });
    if (share === undefined) batch.decodeTokens++;
    else batch.prefillTokens += share;
    sequence.lastStep = step;
  }
  return batch;
}

/** An entry in the engine's words. It has its context. */
export function stepSequence({ sequence, tokens, samples, context }: BatchEntry): StepSequence {
  const { job, choice, length } = sequence;
  const { prompt, alternatives, scoreAlternatives, attention, embed } = job.spec;
  const end = length + tokens;
  const scores = scoreAlternatives !== null && job.scored < Math.min(end + 1, prompt.length);
  return {
    context: context!,
    tokens: sequence.tokens(length, end),
    sampling: samples ? sequence.sampling : null,
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
