// SPDX-License-Identifier: Apache-2.0
/** Runs strategies on a text's own queries, keys and values, through the kernels that serve requests. */
import { type AttentionParams, type ContextId, FULL_ATTENTION } from "../../src/engine/engine.ts";
import { leavesToChance } from "../../src/engine/attention.ts";
import type { StrategySpec } from "../eval/strategies.ts";
import { type Choosable, coverage, drawVariance, headErrors } from "./measures.ts";
import type { FigureEngine, Reading, Shape } from "./reading.ts";

/** What one strategy made of one query token at one layer. */
export interface Attended {
  strategy: string;
  layer: number;
  position: number;
  /** Relative error of each head's output. */
  errors: number[];
  /** Of the keys to choose from; null where all were read. */
  chosenKeys: number | null;
  chosenRows: number | null;
  /** null where nothing was sampled or left to chance. */
  standardError: number | null;
}

/** Where the figures look. */
export interface Looking {
  layers: readonly number[];
  positions: readonly number[];
  /** Draws of each strategy. */
  draws: number;
}

/** Calls with a context whose last token stands at the position. */
async function at<T>(
  engine: FigureEngine,
  context: ContextId,
  position: number,
  run: (context: ContextId) => Promise<T>,
): Promise<T> {
  const fork = engine.forkContext(context, position + 1);
  try {
    return await run(fork);
  } finally {
    engine.freeContext(fork);
  }
}

/** Errors of strategies at every layer and position. */
export async function attendAll(
  engine: FigureEngine,
  context: ContextId,
  { queries }: Reading,
  specs: readonly StrategySpec[],
  { layers, positions, draws }: Looking,
  shape: Shape,
  onPosition: () => void,
): Promise<Attended[]> {
  const found: Attended[] = [];
  for (const position of positions) {
    await at(engine, context, position, async (fork) => {
      for (const layer of layers) {
        const q = queries.get(layer)!.get(position)!;
        const full = await engine.attend({ context: fork, layer, params: FULL_ATTENTION, q });
        for (const { name, params } of specs) {
          for (let draw = 0; draw < draws; ++draw) {
            const seed = params.seed * 1000n + BigInt(draw);
            const own = await engine.attend({
              context: fork,
              layer,
              params: { ...params, seed },
              q,
            });
            const sampled = own.statistics.sampled;
            found.push({
              strategy: name,
              layer,
              position,
              errors: headErrors(own.output, full.output, shape.headDim),
              chosenKeys: sampled === null ? null : sampled.chosenKeys / sampled.offloaded,
              chosenRows: sampled === null ? null : sampled.chosenRows / sampled.offloaded,
              standardError: sampled !== null && leavesToChance(params.strategy)
                ? sampled.standardError
                : null,
            });
          }
        }
      }
    });
    onPosition();
  }
  return found;
}

/** Scores of one query token at one layer, [heads][tokens]. */
export interface Scored {
  layer: number;
  position: number;
  scores: Float32Array[];
}

async function scoresOf(
  engine: FigureEngine,
  context: ContextId,
  { queries }: Reading,
  params: AttentionParams,
  { layers, positions }: Looking,
  shape: Shape,
): Promise<Scored[]> {
  const found: Scored[] = [];
  for (const position of positions) {
    await at(engine, context, position, async (fork) => {
      for (const layer of layers) {
        const q = queries.get(layer)!.get(position)!;
        const { scores } = await engine.attend({ context: fork, layer, params, q, scores: true });
        const rows = Array.from(
          { length: shape.heads },
          (_, head) => scores!.subarray(head * (position + 1), (head + 1) * (position + 1)),
        );
        found.push({ layer, position, scores: rows });
      }
    });
  }
  return found;
}

/** True scores: those of any strategy but `sketch`. */
export function trueScores(
  engine: FigureEngine,
  context: ContextId,
  reading: Reading,
  looking: Looking,
  shape: Shape,
): Promise<Scored[]> {
  const params: AttentionParams = { ...FULL_ATTENTION, strategy: "topk", budget: 1 };
  return scoresOf(engine, context, reading, params, looking, shape);
}

/** What the sketches estimate, NaN where they make no estimate. */
export function estimatedScores(
  engine: FigureEngine,
  context: ContextId,
  reading: Reading,
  looking: Looking,
  shape: Shape,
): Promise<Scored[]> {
  const params: AttentionParams = { ...FULL_ATTENTION, strategy: "sketch", budget: 0.02 };
  return scoresOf(engine, context, reading, params, looking, shape);
}

/** Mean coverage of the best keys by layer. */
export function coverageByLayer(
  scored: readonly Scored[],
  shares: readonly number[],
): Map<number, number[]> {
  const layers = [...new Set(scored.map(({ layer }) => layer))];
  return new Map(layers.map((layer) => {
    const heads = scored.filter((one) => one.layer === layer).flatMap(({ scores }) => scores);
    const covered = heads.map((scores) => coverage(scores, shares));
    const means = shares.map((_, i) =>
      covered.reduce((sum, one) => sum + one[i]!, 0) / covered.length
    );
    return [layer, means];
  }));
}

/** A measured variance beside the theorem's, both relative to |o|². */
export interface VariancePoint {
  layer: number;
  head: number;
  draws: number;
  predicted: number;
  measured: number;
}

/** Heads whose variance is below this are exact to rounding: nothing to compare. */
const LEAST_VARIANCE = 1e-9;

/**
 * Variance of the oracle with B independent draws against the paper's Theorem 3.2, one query position a layer.
 * The measured one is the mean of |ô − o|² / |o|² over `repeats` seeds.
 */
export async function varianceAgainstTheorem(
  engine: FigureEngine,
  context: ContextId,
  { reading, scored, shape, sink }: {
    reading: Reading;
    scored: readonly Scored[];
    shape: Shape;
    sink: number;
  },
  { draws, repeats, seed }: { draws: readonly number[]; repeats: number; seed: number },
): Promise<VariancePoint[]> {
  const points: VariancePoint[] = [];
  const last = Math.max(...scored.map(({ position }) => position));
  for (const { layer, position, scores } of scored.filter((one) => one.position === last)) {
    const q = reading.queries.get(layer)!.get(position)!;
    const full = await engine.attend({ context, layer, params: FULL_ATTENTION, q });
    for (const count of draws) {
      const squares = new Float64Array(shape.heads);
      let choosable: Choosable = { begin: sink, end: sink };
      for (let repeat = 0; repeat < repeats; ++repeat) {
        const params: AttentionParams = {
          ...FULL_ATTENTION,
          strategy: "oracle",
          budget: 0.02,
          draws: count,
          seed: BigInt(seed) * 100_000n + BigInt(repeat),
        };
        const { output, statistics } = await engine.attend({ context, layer, params, q });
        choosable = { begin: sink, end: sink + (statistics.sampled?.offloaded ?? 0) };
        headErrors(output, full.output, shape.headDim).forEach((e, i) => squares[i]! += e * e);
      }
      scores.forEach((row, head) => {
        const predicted = drawVariance(row, choosable, valuesOf(reading, layer, head, shape)) /
          count;
        if (!(predicted > LEAST_VARIANCE)) return;
        points.push({ layer, head, draws: count, predicted, measured: squares[head]! / repeats });
      });
    }
  }
  return points;
}

/** The values that a query head reads, by token. */
export function valuesOf(reading: Reading, layer: number, head: number, shape: Shape) {
  return rowsOf(
    reading.rows.get(layer)!.values,
    Math.floor(head * shape.kvHeads / shape.heads),
    shape,
  );
}

/** Rows of one KV head, by token. */
export function rowsOf(rows: Float32Array, kvHead: number, { kvHeads, headDim }: Shape) {
  return (token: number): Float32Array => {
    const start = (token * kvHeads + kvHead) * headDim;
    return rows.subarray(start, start + headDim);
  };
}
