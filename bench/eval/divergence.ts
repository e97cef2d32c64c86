// SPDX-License-Identifier: Apache-2.0
/** How far strategies' distributions of the next token lie from full attention's, over the end of a text. */
import {
  BLOCK_TOKENS,
  type ContextId,
  type Engine,
  type SequenceResult,
  type StepSequence,
} from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";
import { exactUntil, type StrategySpec } from "./strategies.ts";

/** An engine whose logits can be read after a step, in the order of the step's tokens. */
export interface LogitsEngine extends Engine {
  capture(enabled: boolean): void;
  readCapture(name: "logits"): Float32Array;
}

/** What a strategy made of one text. */
export interface Divergence {
  text: string;
  strategy: string;
  /** Kullback-Leibler divergence of its distribution from full attention's at each position, in nats. */
  divergences: number[];
  /** Share of positions whose most likely token is full attention's. */
  agreement: number;
  /** Of the keys to choose from; null for full attention. */
  chosenKeys: number | null;
  chosenRows: number | null;
  /** As reported with the tokens. */
  standardError: number | null;
}

function logSumExp(logits: Float32Array): number {
  let most = -Infinity;
  for (const logit of logits) if (logit > most) most = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return most + Math.log(sum);
}

/** Kullback-Leibler divergence of `other` from `full`, both logits. */
export function divergenceOf(full: Float32Array, other: Float32Array): number {
  const [a, b] = [logSumExp(full), logSumExp(other)];
  let sum = 0;
  for (let i = 0; i < full.length; ++i) {
    const logP = full[i]! - a;
    if (logP > -60) sum += Math.exp(logP) * (logP - (other[i]! - b));
  }
  // Rounding can leave a little less than nothing.
  return Math.max(0, sum);
}

function best(logits: Float32Array): number {
  let at = 0;
  for (let i = 1; i < logits.length; ++i) if (logits[i]! > logits[at]!) at = i;
  return at;
}

const QUIET = { sampling: null, choice: 0, alternatives: 0 };
/** Logits of a step at most, in floats. */
const MOST_LOGITS = 16 << 20;

async function step(engine: Engine, sequences: StepSequence[]): Promise<SequenceResult[]> {
  const results = (await engine.step(sequences)).sequences;
  const failed = results.find(({ failure }) => failure !== null);
  if (failed !== undefined) throw new Failure("engine", `A step failed: ${failed.failure}.`);
  return results;
}

/** What is added up for one strategy. */
class Sums {
  readonly divergences: number[] = [];
  readonly figures: NonNullable<SequenceResult["sampled"]>[] = [];
  agreed = 0;

  constructor(readonly spec: StrategySpec, readonly context: ContextId) {}

  result(text: string): Divergence {
    const mean = (value: (f: NonNullable<SequenceResult["sampled"]>) => number) =>
      this.figures.length === 0
        ? null
        : this.figures.reduce((sum, figure) => sum + value(figure), 0) / this.figures.length;
    return {
      text,
      strategy: this.spec.name,
      divergences: this.divergences,
      agreement: this.agreed / this.divergences.length,
      chosenKeys: mean(({ chosenKeys, offloaded }) => chosenKeys / offloaded),
      chosenRows: mean(({ chosenRows, offloaded }) => chosenRows / offloaded),
      standardError: mean(({ standardError }) => standardError),
    };
  }
}

/** One step of all strategies over the same tokens; the first one is full attention. */
async function compare(
  engine: LogitsEngine,
  all: readonly Sums[],
  tokens: Int32Array,
  from: number,
): Promise<void> {
  const results = await step(
    engine,
    all.map(({ spec: { params }, context }) => ({
      ...QUIET,
      context,
      tokens,
      promptTokens: from,
      ...(params.strategy === "full" ? {} : { attention: { ...params, from, verify: false } }),
    })),
  );
  const logits = engine.readCapture("logits");
  const { vocabulary } = engine.limits;
  const row = (sequence: number, token: number) => {
    const at = (sequence * tokens.length + token) * vocabulary;
    return logits.subarray(at, at + vocabulary);
  };
  for (const [i, sums] of all.entries()) {
    const { sampled } = results[i]!;
    if (sampled !== null) sums.figures.push(sampled);
    for (let token = 0; token < tokens.length; ++token) {
      const [full, own] = [row(0, token), row(i, token)];
      sums.divergences.push(divergenceOf(full, own));
      sums.agreed += best(full) === best(own) ? 1 : 0;
    }
  }
}

/** Tokens of a step when so many strategies go side by side. */
export function chunkOf(engine: Engine, strategies: number): number {
  const { vocabulary, maxStepTokens } = engine.limits;
  const rows = Math.min(maxStepTokens, Math.floor(MOST_LOGITS / vocabulary));
  return Math.max(1, Math.floor(rows / strategies));
}

/** Blocks of a text and of so many forks over its last tokens. */
export function blocksFor(tokens: number, last: number, forks: number): number {
  const own = Math.ceil(tokens / BLOCK_TOKENS) - Math.floor((tokens - last) / BLOCK_TOKENS);
  return Math.ceil(tokens / BLOCK_TOKENS) + forks * own + 1;
}

/**
 * Computes a text exactly up to its last tokens, and these with every strategy. `specs` begin with full attention;
 * one more step needs room for as many sequences as there are strategies.
 */
export async function diverge(
  engine: LogitsEngine,
  text: { name: string; tokens: Int32Array },
  specs: readonly StrategySpec[],
  last: number,
): Promise<Divergence[]> {
  const from = text.tokens.length - last;
  const root = engine.createContext();
  const all: Sums[] = [];
  try {
    for (let at = 0; at < from; at += engine.limits.maxStepTokens) {
      const tokens = text.tokens.subarray(at, Math.min(from, at + engine.limits.maxStepTokens));
      await step(engine, [
        { ...QUIET, context: root, tokens, promptTokens: from, ...exactUntil(from, specs) },
      ]);
    }
    for (const spec of specs) all.push(new Sums(spec, engine.forkContext(root, from)));
    engine.capture(true);
    const chunk = chunkOf(engine, specs.length);
    for (let at = from; at < text.tokens.length; at += chunk) {
      await compare(engine, all, text.tokens.subarray(at, at + chunk), from);
    }
    return all.map((sums) => sums.result(text.name));
  } finally {
    engine.capture(false);
    for (const { context } of all) engine.freeContext(context);
    engine.freeContext(root);
  }
}
