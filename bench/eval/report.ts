// SPDX-License-Identifier: Apache-2.0
/** Writes what an evaluation found: a Markdown table, JSON with every reply, and a plot. */
import { chartSvg, type Panel, type Series } from "../figures/chart.ts";
import { type Common, commonText } from "./flags.ts";
import type { Interval } from "./intervals.ts";
import type { Reply } from "./run.ts";
import type { Score } from "./summary.ts";
import { exactNote, percent, table } from "./tables.ts";

/** What was run, for readers of the files. */
export interface RunFacts extends Common {
  model: string;
  file: string;
  documents: number;
  /** The command line that makes the same files. */
  command: string;
  engine: string;
  /** Bytes of index for a key of a layer and KV head, by strategy. */
  indexBytes: Readonly<Record<string, number>>;
  kvBytes: number;
}

const points = (value: number) => value.toFixed(3).replace(/^(-?)0\./, "$1.");
function withInterval({ value, low, high }: Interval): string {
  return `${points(value)} (${points(low)} to ${points(high)})`;
}

function overview(scores: readonly Score[], facts: RunFacts): string {
  return table(
    [
      "strategy",
      "n",
      "exact match",
      "difference to full",
      "recall",
      "keys read a head",
      "rows read a KV head",
      "index bytes a key",
    ],
    scores.map((score) => [
      score.strategy,
      String(score.questions),
      withInterval(score.exact),
      score.difference === null ? "–" : withInterval(score.difference),
      points(score.recall.value),
      score.strategy === "full" ? "100 %" : percent(score.chosenKeys),
      score.strategy === "full" ? "100 %" : percent(score.chosenRows),
      (facts.indexBytes[score.strategy] ?? 0).toFixed(1),
    ]),
  );
}

function byFamily(scores: readonly Score[]): string {
  const names = [...new Set(scores.flatMap(({ families }) => families.map((f) => f.family)))];
  const first = scores[0]!.families;
  const head = ["family", "n", ...scores.map(({ strategy }) => strategy)];
  return table(
    head,
    names.map((name) => [
      name,
      String(first.find(({ family }) => family === name)?.questions ?? 0),
      ...scores.map(({ families }) => {
        const score = families.find(({ family }) => family === name);
        return score === undefined ? "–" : withInterval(score);
      }),
    ]),
  );
}

/** The page. */
export function accuracyMarkdown(scores: readonly Score[], facts: RunFacts): string {
  const setups = [...new Set(scores.map(({ setup }) => setup))];
  const about = {
    A: "document and question exact, the reply sampled",
    B: "the document exact, question and reply sampled",
  };
  const parts = setups.flatMap((setup) => {
    const mine = scores.filter((score) => score.setup === setup);
    return [
      `## Set-up ${setup}: ${about[setup]}`,
      overview(mine, facts),
      ...[exactNote(mine)].filter((note) => note !== null),
      `### By family (exact match)`,
      byFamily(mine),
    ];
  });
  return [
    `# Accuracy of ${facts.model}`,
    `${facts.documents} documents of \`${facts.file}\`. ${commonText(facts)} ` +
    `Greedy decoding. The KV of a key takes ${facts.kvBytes} bytes. ${facts.engine}.`,
    "Means are of families. In brackets: 95 % intervals, from documents resampled within their families for " +
    "means and differences, Wilson's at the effective number of questions for single families. Shares of keys " +
    "and rows are of those that there were to choose from.",
    ...parts,
    `Made by \`${facts.command}\`.`,
  ].join("\n\n") + "\n";
}

const KINDS = ["full", "sketch", "lsh", "quest", "topk", "oracle"];

function seriesBy(scores: readonly Score[], x: (score: Score) => number | null): Series[] {
  return KINDS.flatMap((kind, colour) => {
    const mine = scores.filter(({ strategy }) => strategy.startsWith(kind));
    const found = mine.flatMap((score) => {
      const at = x(score);
      const { value, low, high } = score.exact;
      return at === null || at <= 0 ? [] : [{ x: at, y: value, low, high, label: score.strategy }];
    });
    return found.length === 0 ? [] : [{ name: kind, points: found, line: false, colour }];
  });
}

/** Accuracy against what is read and against what the index takes, a row of panels for each set-up. */
export function accuracySvg(scores: readonly Score[], facts: RunFacts): string {
  const setups = [...new Set(scores.map(({ setup }) => setup))];
  const panels = setups.flatMap((setup): Panel[] => {
    const mine = scores.filter((score) => score.setup === setup);
    const y = { title: "exact match, mean of families" };
    const rows = (score: Score) => score.strategy === "full" ? 1 : score.chosenRows;
    return [
      {
        title: `Set-up ${setup}: rows read`,
        x: { title: "rows read of a KV head", log: true, percent: true },
        y,
        series: seriesBy(mine, rows),
      },
      {
        title: `Set-up ${setup}: index`,
        x: { title: `index bytes a key (K and V: ${facts.kvBytes})`, log: true },
        y,
        series: seriesBy(mine, ({ strategy }) => facts.indexBytes[strategy] ?? null),
      },
    ];
  });
  return chartSvg(panels);
}

/** Writes accuracy.md, accuracy.json and accuracy.svg. */
export async function writeReport(
  folder: string,
  replies: readonly Reply[],
  scores: readonly Score[],
  facts: RunFacts,
): Promise<void> {
  await Deno.writeTextFile(`${folder}/accuracy.md`, accuracyMarkdown(scores, facts));
  await Deno.writeTextFile(`${folder}/accuracy.svg`, accuracySvg(scores, facts));
  const lines = replies.map((reply) => JSON.stringify(reply)).join(",\n");
  await Deno.writeTextFile(
    `${folder}/accuracy.json`,
    `{"run": ${JSON.stringify(facts)},\n"scores": ${
      JSON.stringify(scores)
    },\n"replies": [\n${lines}\n]}\n`,
  );
}
