// SPDX-License-Identifier: Apache-2.0
/** The figures of `deno task figures`: panels, and a page that says what they show. */
import { kindOf, percent, table } from "../eval/tables.ts";
import type { Panel, Point, Series } from "./chart.ts";
import type { Attended, Scored, VariancePoint } from "./experiment.ts";
import { correlation, type KeyGeometry, mean, quantile } from "./measures.ts";

/** A strategy over all layers, positions, heads and draws. */
export interface StrategyError {
  strategy: string;
  mean: number;
  p99: number;
  /** Root of the mean square, and what the strategy says it is. */
  rms: number;
  standardError: number | null;
  chosenKeys: number | null;
  chosenRows: number | null;
}

/** Mean of those that are known; null: none is. */
function knownMean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : mean(known);
}

export function errorsByStrategy(attended: readonly Attended[]): StrategyError[] {
  const names = [...new Set(attended.map(({ strategy }) => strategy))];
  return names.map((strategy) => {
    const mine = attended.filter((one) => one.strategy === strategy);
    const errors = mine.flatMap((one) => one.errors);
    const variance = knownMean(
      mine.map(({ standardError }) => standardError === null ? null : standardError ** 2),
    );
    return {
      strategy,
      mean: mean(errors),
      p99: quantile(errors, 0.99),
      rms: Math.sqrt(mean(errors.map((e) => e * e))),
      standardError: variance === null ? null : Math.sqrt(variance),
      chosenKeys: knownMean(mine.map((one) => one.chosenKeys)),
      chosenRows: knownMean(mine.map((one) => one.chosenRows)),
    };
  });
}

function errorPanel(
  errors: readonly StrategyError[],
  title: string,
  cost: (error: StrategyError) => number | null,
  size: "mean" | "p99",
): Panel {
  const kinds = [...new Set(errors.map(({ strategy }) => kindOf(strategy)))];
  return {
    title: `${size === "mean" ? "Mean" : "99th percentile of the"} error of the output`,
    x: { title, log: true, percent: true },
    y: { title: "|ô − o| / |o|", log: true },
    series: kinds.map((name) => {
      const mine = errors.filter(({ strategy }) => kindOf(strategy) === name);
      const points = mine.flatMap((error): Point[] => {
        const x = cost(error);
        const label = name === "lsh" ? { label: error.strategy } : {};
        return x === null ? [] : [{ x, y: error[size], ...label }];
      });
      return { name, points: points.toSorted((a, b) => a.x - b.x) };
    }),
  };
}

/** Error against what is read. */
export function errorPanels(errors: readonly StrategyError[]): Panel[] {
  const rows = ({ chosenRows }: StrategyError) => chosenRows;
  return [
    errorPanel(errors, "rows read of a KV head", rows, "mean"),
    errorPanel(errors, "rows read of a KV head", rows, "p99"),
    errorPanel(errors, "keys read a query head", ({ chosenKeys }) => chosenKeys, "mean"),
  ];
}

export function errorTable(errors: readonly StrategyError[]): string {
  return table(
    [
      "strategy",
      "keys read a head",
      "rows read a KV head",
      "error mean",
      "p99",
      "rms",
      "rms as reported",
    ],
    errors.map((error) => [
      error.strategy,
      percent(error.chosenKeys),
      percent(error.chosenRows),
      ...[error.mean, error.p99, error.rms, error.standardError].map((x) =>
        x === null ? "–" : x.toFixed(4)
      ),
    ]),
  );
}

/** Attention that the best keys have. */
export function coveragePanel(
  shares: readonly number[],
  byLayer: ReadonlyMap<number, readonly number[]>,
): Panel {
  return {
    title: "Attention of the best keys",
    x: { title: "share of all keys", log: true, percent: true },
    y: { title: "share of the attention, mean of heads", percent: true, from: 0, to: 1 },
    series: [...byLayer].map(([layer, covered]) => ({
      name: `layer ${layer}`,
      points: covered.map((y, i) => ({ x: shares[i]!, y })),
    })),
  };
}

/** Measured variance against the theorem's. */
export function variancePanel(points: readonly VariancePoint[]): Panel {
  const draws = [...new Set(points.map((point) => point.draws))];
  const ends = points.map(({ predicted }) => predicted);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return {
    title: "Variance of B independent draws",
    x: { title: "(E|v|² − |E v|²) / B, relative to |o|²", log: true },
    y: { title: "measured", log: true },
    series: [
      ...draws.map((count): Series => ({
        name: `B = ${count}`,
        line: false,
        points: points.filter((point) => point.draws === count)
          .map(({ predicted, measured }) => ({ x: predicted, y: measured })),
      })),
      {
        name: "Theorem 3.2",
        marks: false,
        dashed: true,
        colour: 6,
        points: [{ x: low, y: low }, { x: high, y: high }],
      },
    ],
  };
}

/** Mean and spread of measured over predicted variance. */
export function varianceRatio(
  points: readonly VariancePoint[],
): { mean: number; low: number; high: number } {
  const ratios = points.map(({ predicted, measured }) => measured / predicted);
  return { mean: mean(ratios), low: quantile(ratios, 0.05), high: quantile(ratios, 0.95) };
}

/** How keys lie, by layer: means of KV heads. */
export function geometryPanel(byLayer: ReadonlyMap<number, readonly KeyGeometry[]>): Panel {
  const lines: [string, keyof KeyGeometry][] = [
    ["first key and mean key", "sinkToMean"],
    ["keys and their mean", "keysToMean"],
    ["keys less their block's mean, and the mean", "centredToMean"],
    ["queries and first key", "queriesToSink"],
  ];
  return {
    title: "Cosines by layer, means of KV heads",
    x: { title: "layer" },
    y: { title: "cosine", from: -1, to: 1 },
    series: lines.map(([name, figure]) => ({
      name,
      points: [...byLayer].map(([layer, heads]) => ({
        x: layer,
        y: mean(heads.map((head) => head[figure])),
      })),
    })),
  };
}

/** Most points of a cloud. */
const CLOUD = 500;

/** Pairs of true and estimated scores where there is an estimate, the greatest true one at 0. */
export function scorePairs(
  truths: readonly Scored[],
  estimates: readonly Scored[],
  layer: number,
): Point[] {
  return truths.flatMap((truth, i) => {
    if (truth.layer !== layer) return [];
    return truth.scores.flatMap((row, head) => {
      const estimated = estimates[i]!.scores[head]!;
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      return Array.from(row, (score, token) => ({ x: score - most, y: estimated[token]! - most }))
        .filter(({ y }) => Number.isFinite(y));
    });
  });
}

export function scoreCorrelation(pairs: readonly Point[]): number {
  return correlation(pairs.map(({ x }) => x), pairs.map(({ y }) => y));
}

/** Clouds of estimated against true scores, a panel a layer. */
export function scorePanels(pairs: ReadonlyMap<number, readonly Point[]>): Panel[] {
  return [...pairs].map(([layer, points]) => {
    const step = Math.max(1, Math.floor(points.length / CLOUD));
    const shown = points.filter((_, i) => i % step === 0);
    const ends = shown.flatMap(({ x, y }) => [x, y]);
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return {
      title: `Layer ${layer}: r = ${scoreCorrelation(points).toFixed(3)}`,
      x: { title: "true score less the head's greatest" },
      y: { title: "estimated" },
      series: [
        { name: "keys", points: shown, line: false, faint: true },
        {
          name: "equal",
          marks: false,
          dashed: true,
          colour: 6,
          points: [{ x: low, y: low }, { x: high, y: high }],
        },
      ],
    };
  });
}
