// SPDX-License-Identifier: Apache-2.0
/** Times decode steps of some contexts together, and prefill, in one engine. */
import type { NativeEngine } from "../../ffi/engine.ts";
import {
  type AttentionParams,
  type ContextId,
  type Engine,
  GREEDY,
  LAST_SAMPLED,
  type SamplingParams,
  type StageMs,
  type StepResult,
} from "../../src/engine/engine.ts";
import type { StrategySpec } from "../eval/strategies.ts";
import { extend, speedOf } from "../measure.ts";

/** Steps before those that are timed: the first one runs as it comes, the second one is recorded. */
const WARM_STEPS = 3;
const LEAST_STEPS = 5, MOST_STEPS = 40;
/** Between the two bounds, steps are timed for so long. */
const TIMED_MS = 700;
/** Steps that tell their stages apart. */
const TOLD_STEPS = 7;

/** Decode steps of some contexts with one strategy. */
export interface DecodePoint {
  strategy: string;
  batch: number;
  /** Tokens of each context. */
  context: number;
  /** Of a step. */
  ms: { median: number; least: number; most: number };
  tokensPerSecond: number;
  /** Rows that a KV head reads beside sink and tail, mean over layers; null: it reads all. */
  rows: number | null;
  /** Medians of steps that tell their stages apart; null: not asked for. */
  stages: StageMs | null;
}

/** Prefill of one context. */
export interface PrefillPoint {
  tokens: number;
  seconds: number;
}

function succeeded(result: StepResult): StepResult {
  const failed = result.sequences.find(({ failure }) => failure !== null);
  if (failed !== undefined) throw new Error(`a step failed: ${failed.failure}`);
  return result;
}

function attentionOf(params: AttentionParams, from: number, seed: number) {
  if (params.strategy === "full") return {};
  return { attention: { ...params, seed: BigInt(seed), from, verify: false } };
}

function medianStages(told: readonly StageMs[]): StageMs {
  const median = (stage: keyof StageMs) =>
    speedOf(told.length, told.map((stages) => stages[stage])).median;
  const stages = Object.keys(told[0]!) as (keyof StageMs)[];
  return Object.fromEntries(stages.map((stage) => [stage, median(stage)])) as unknown as StageMs;
}

/** Decodes all contexts together; they are as long as before at the end. */
export async function decodeTogether(
  engine: Engine,
  contexts: readonly ContextId[],
  { name, params }: StrategySpec,
  { sampling = GREEDY, tellsStages = false }: {
    sampling?: SamplingParams;
    tellsStages?: boolean;
  } = {},
): Promise<DecodePoint> {
  const length = engine.contextLength(contexts[0]!);
  const step = (token: number, more: { stages?: true } = {}) =>
    engine.step(contexts.map((context, i) => ({
      context,
      tokens: [token],
      sampling,
      choice: 0,
      promptTokens: length,
      alternatives: 0,
      ...attentionOf(params, length, i + 1),
      ...more,
    })));
  let last = succeeded(await step(7));
  for (let i = 1; i < WARM_STEPS; ++i) last = succeeded(await step(LAST_SAMPLED));
  const figures: number[] = [];
  const start = performance.now();
  for (let before = start; figures.length < MOST_STEPS;) {
    last = succeeded(await step(LAST_SAMPLED));
    const now = performance.now();
    figures.push(now - before);
    before = now;
    if (figures.length >= LEAST_STEPS && now - start > TIMED_MS) break;
  }
  const told: StageMs[] = [];
  for (let i = 0; tellsStages && i < TOLD_STEPS; ++i) {
    told.push(succeeded(await step(LAST_SAMPLED, { stages: true })).stageMs);
  }
  for (const context of contexts) engine.truncateContext(context, length);
  const { median, least, most } = speedOf(length, figures);
  const rows = last.sequences.flatMap(({ sampled }) =>
    sampled === null ? [] : [sampled.chosenRows]
  );
  return {
    strategy: name,
    batch: contexts.length,
    context: length,
    ms: { median, least, most },
    tokensPerSecond: 1000 * contexts.length / median,
    rows: rows.length === 0 ? null : rows.reduce((sum, value) => sum + value, 0) / rows.length,
    stages: tellsStages ? medianStages(told) : null,
  };
}

/** The batches up to `most` that are worth a point, `most` itself among them. */
export function batchesUpTo(most: number, batches: readonly number[]): number[] {
  return [...new Set([...batches.filter((batch) => batch <= most), most])].toSorted((a, b) =>
    a - b
  );
}

/**
 * Every strategy at every batch, with the stages of the least and the largest, over contexts of noise that
 * have no block in common: shared rows would be read from caches.
 */
export async function decodeAll(
  engine: NativeEngine,
  { length, most, strategies, batches, sampling }: {
    length: number;
    most: number;
    strategies: readonly StrategySpec[];
    batches: readonly number[];
    sampling?: SamplingParams;
  },
  show: (text: string) => void,
): Promise<DecodePoint[]> {
  const contexts: ContextId[] = [];
  try {
    for (let i = 0; i < most; ++i) {
      contexts.push(engine.createContext());
      await engine.fillContext(contexts[i]!, length, i + 1);
    }
    const points: DecodePoint[] = [];
    for (const batch of batchesUpTo(most, batches)) {
      for (const strategy of strategies) {
        const point = await decodeTogether(engine, contexts.slice(0, batch), strategy, {
          ...(sampling && { sampling }),
          tellsStages: batch === 1 || batch === most,
        });
        show(
          `${strategy.name}, batch ${batch} at ${length}: ${
            point.ms.median.toFixed(2)
          } ms a step, ` +
            `${point.tokensPerSecond.toFixed(1)} tokens/s`,
        );
        points.push(point);
      }
    }
    return points;
  } finally {
    for (const context of contexts) engine.freeContext(context);
  }
}

/**
 * Prefill of one context up to each of some ascending lengths, after a first step that warms up. With lsh tables
 * where the strategy has them: they are whole where the last length ends.
 */
export async function prefillTo(
  engine: Engine,
  lengths: readonly number[],
  strategy: StrategySpec | undefined,
): Promise<PrefillPoint[]> {
  const promptTokens = lengths.at(-1)!;
  const how = {
    promptTokens,
    ...(strategy === undefined ? {} : attentionOf(strategy.params, promptTokens, 1)),
  };
  const warm = engine.createContext();
  await extend(engine, warm, Math.min(engine.limits.maxStepTokens, lengths[0]!));
  engine.freeContext(warm);
  const context = engine.createContext();
  try {
    let ms = 0;
    const points: PrefillPoint[] = [];
    for (const tokens of lengths) {
      ms += await extend(engine, context, tokens, how);
      points.push({ tokens, seconds: ms / 1000 });
    }
    return points;
  } finally {
    engine.freeContext(context);
  }
}
