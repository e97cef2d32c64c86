// SPDX-License-Identifier: Apache-2.0
/** Writes the figures, their page and their numbers. */
import { type Common, commonText } from "../eval/flags.ts";
import { exactNote, table } from "../eval/tables.ts";
import { chartSvg, type Panel, type Point } from "./chart.ts";
import {
  type Attended,
  coverageByLayer,
  rowsOf,
  type Scored,
  type VariancePoint,
} from "./experiment.ts";
import type { Looking } from "./experiment.ts";
import { type KeyGeometry, keyGeometry, mean } from "./measures.ts";
import {
  coveragePanel,
  errorPanels,
  errorsByStrategy,
  errorTable,
  geometryPanel,
  scoreCorrelation,
  scorePairs,
  scorePanels,
  type StrategyError,
  variancePanel,
  varianceRatio,
} from "./panels.ts";
import type { Reading, Shape } from "./reading.ts";

/** What was measured. */
export interface Drawn {
  reading: Reading;
  attended: Attended[];
  truths: Scored[];
  estimates: Scored[];
  variance: VariancePoint[];
  engine: string;
}

export interface FigureFacts extends Common {
  model: string;
  text: string;
  command: string;
  shape: Shape;
  sketchBits: number;
  looking: Looking;
}

const COVERED = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];

/** Geometry of every KV head of a layer. */
function layerGeometry(
  { rows, queries, tokens }: Reading,
  layer: number,
  shape: Shape,
): KeyGeometry[] {
  const { keys } = rows.get(layer)!;
  const group = shape.heads / shape.kvHeads;
  return Array.from({ length: shape.kvHeads }, (_, kvHead) => {
    const key = rowsOf(keys, kvHead, shape);
    const own = [...queries.get(layer)!.values()].flatMap((q) =>
      Array.from({ length: group }, (_, i) => {
        const start = (kvHead * group + i) * shape.headDim;
        return q.subarray(start, start + shape.headDim);
      })
    );
    return keyGeometry(Array.from({ length: tokens }, (_, token) => key(token)), own);
  });
}

function geometryTable(byLayer: ReadonlyMap<number, readonly KeyGeometry[]>): string {
  return table(
    [
      "layer",
      "first key and mean key",
      "keys and their mean",
      "less the block's mean",
      "queries and first key",
      "length less the block's mean",
    ],
    [...byLayer].map(([layer, heads]) => [
      String(layer),
      ...(["sinkToMean", "keysToMean", "centredToMean", "queriesToSink", "residual"] as const)
        .map((figure) => mean(heads.map((head) => head[figure])).toFixed(3)),
    ]),
  );
}

/** What the figures show, in numbers. */
interface Numbers {
  errors: StrategyError[];
  coverage: Map<number, number[]>;
  geometry: Map<number, KeyGeometry[]>;
  pairs: Map<number, Point[]>;
}

function numbersOf({ reading, attended, truths, estimates }: Drawn, facts: FigureFacts): Numbers {
  return {
    errors: errorsByStrategy(attended),
    coverage: coverageByLayer(truths, COVERED),
    geometry: new Map(
      [...reading.rows.keys()].map((layer) => [layer, layerGeometry(reading, layer, facts.shape)]),
    ),
    pairs: new Map(
      facts.looking.layers.map((layer) => [layer, scorePairs(truths, estimates, layer)]),
    ),
  };
}

function pageOf(
  { reading, variance, engine }: Drawn,
  numbers: Numbers,
  facts: FigureFacts,
): string {
  const ratio = varianceRatio(variance);
  const { looking } = facts;
  return [
    `# Sampled attention on what ${facts.model} makes of ${facts.text}`,
    `${reading.tokens} tokens; ${looking.positions.length} query positions of the last 512, layers ${
      looking.layers.join(", ")
    }, all heads, ${looking.draws} draws. ${commonText(facts)} ` +
    `${engine}.`,
    "## Error of the attention output against what is read",
    "![error](error.svg)",
    "Shares are of the keys that there were to choose from. Errors are |ô − o| / |o| of single heads; the last " +
    "column is the standard error that requests report; quest and topk have none, since nothing is left to chance.",
    errorTable(numbers.errors),
    ...[exactNote(numbers.errors)].filter((note) => note !== null),
    "## Attention of the best keys",
    "![coverage](coverage.svg)",
    "## Variance against Theorem 3.2",
    `B independent draws from the true attention over the keys to choose from, ${variance.length} heads and B: ` +
    `measured / predicted ${ratio.mean.toFixed(3)} (nine tenths of them ${
      ratio.low.toFixed(2)
    } to ${ratio.high.toFixed(2)}).`,
    "![variance](variance.svg)",
    "## Geometry of the keys",
    "![geometry](geometry.svg)",
    geometryTable(numbers.geometry),
    `## Estimated against true scores (${facts.sketchBits} bits)`,
    "![scores](scores.svg)",
    `Made by \`${facts.command}\`.`,
  ].join("\n\n") + "\n";
}

/** Writes figures.md, figures.json and a file for each figure; returns the page. */
export async function writeFigures(
  folder: string,
  drawn: Drawn,
  facts: FigureFacts,
): Promise<string> {
  const numbers = numbersOf(drawn, facts);
  const figures: Record<string, Panel[]> = {
    error: errorPanels(numbers.errors),
    coverage: [coveragePanel(COVERED, numbers.coverage)],
    variance: [variancePanel(drawn.variance)],
    geometry: [geometryPanel(numbers.geometry)],
    scores: scorePanels(numbers.pairs),
  };
  for (const [name, panels] of Object.entries(figures)) {
    await Deno.writeTextFile(`${folder}/${name}.svg`, chartSvg(panels, name === "error" ? 3 : 2));
  }
  const text = pageOf(drawn, numbers, facts);
  await Deno.writeTextFile(`${folder}/figures.md`, text);
  const correlations = [...numbers.pairs].map(([layer, pairs]) => [layer, scoreCorrelation(pairs)]);
  const file = {
    run: { ...facts, engine: drawn.engine, tokens: drawn.reading.tokens },
    errors: numbers.errors,
    coverage: { shares: COVERED, layers: Object.fromEntries(numbers.coverage) },
    variance: drawn.variance,
    geometry: Object.fromEntries(numbers.geometry),
    correlations: Object.fromEntries(correlations),
  };
  await Deno.writeTextFile(`${folder}/figures.json`, JSON.stringify(file) + "\n");
  return text;
}
