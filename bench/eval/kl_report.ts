// SPDX-License-Identifier: Apache-2.0
/** Writes how far strategies lie from full attention: a Markdown table, JSON with every position, a plot. */
import { chartSvg, type Panel, type Series } from "../figures/chart.ts";
import type { Divergence } from "./divergence.ts";
import { type Common, commonText } from "./flags.ts";
import { type Interval, meanInterval } from "./intervals.ts";
import { exactNote, kindOf, percent, table } from "./tables.ts";

export interface DivergenceFacts extends Common {
  model: string;
  texts: { name: string; tokens: number }[];
  last: number;
  command: string;
  engine: string;
  indexBytes: Readonly<Record<string, number>>;
}

/** One strategy over all texts. */
export interface DivergenceScore {
  strategy: string;
  /** Mean of the texts' means. */
  divergence: Interval;
  texts: { text: string; divergence: number }[];
  agreement: number;
  chosenKeys: number | null;
  chosenRows: number | null;
  standardError: number | null;
}

/** Neighbouring positions are alike: the interval resamples runs of so many. */
const RUN = 16;

function runsOf(values: readonly number[]): number[][] {
  return Array.from(
    { length: Math.ceil(values.length / RUN) },
    (_, i) => values.slice(i * RUN, (i + 1) * RUN),
  );
}

function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** Scores of each strategy, in order of appearance. */
export function scoreDivergences(found: readonly Divergence[]): DivergenceScore[] {
  const names = [...new Set(found.map(({ strategy }) => strategy))];
  return names.map((strategy) => {
    const mine = found.filter((one) => one.strategy === strategy);
    return {
      strategy,
      divergence: meanInterval(mine.map(({ divergences }) => runsOf(divergences))),
      texts: mine.map(({ text, divergences }) => ({ text, divergence: mean(divergences)! })),
      agreement: mean(mine.map(({ agreement }) => agreement))!,
      chosenKeys: mean(mine.map(({ chosenKeys }) => chosenKeys)),
      chosenRows: mean(mine.map(({ chosenRows }) => chosenRows)),
      standardError: mean(mine.map(({ standardError }) => standardError)),
    };
  });
}

const nats = (value: number) => value < 0.01 ? value.toFixed(5) : value.toFixed(4);

function page(scores: readonly DivergenceScore[], facts: DivergenceFacts): string {
  const names = facts.texts.map(({ name }) => name);
  const head = [
    "strategy",
    "keys read a head",
    "rows read a KV head",
    "index bytes a key",
    "KL in nats",
    "same first token",
    ...names,
  ];
  const rows = scores.map((score) => [
    score.strategy,
    percent(score.chosenKeys),
    percent(score.chosenRows),
    (facts.indexBytes[score.strategy] ?? 0).toFixed(1),
    `${nats(score.divergence.value)} (${nats(score.divergence.low)} to ${
      nats(score.divergence.high)
    })`,
    percent(score.agreement),
    ...names.map((name) => nats(score.texts.find(({ text }) => text === name)!.divergence)),
  ]);
  const texts = facts.texts.map(({ name, tokens }) => `${name} (${tokens})`).join(", ");
  return [
    `# Divergence from full attention: ${facts.model}`,
    `Kullback-Leibler divergence of the next token's distribution from that of full attention, over the last ` +
    `${facts.last} tokens of each text, given the same tokens. Texts and their tokens: ${texts}. ${
      commonText(facts)
    } ` +
    `${facts.engine}.`,
    "Means of texts. In brackets: 95 % intervals from resampled runs of 16 positions. Shares of keys and rows " +
    "are of those that there were to choose from.",
    table(head, rows),
    ...[exactNote(scores)].filter((note) => note !== null),
    `Made by \`${facts.command}\`.`,
  ].join("\n\n") + "\n";
}

function panel(
  scores: readonly DivergenceScore[],
  title: string,
  x: (score: DivergenceScore) => number | null,
): Panel {
  const kinds = [...new Set(scores.map(({ strategy }) => kindOf(strategy)))];
  const series = kinds.map((name): Series => {
    const mine = scores.filter(({ strategy }) => kindOf(strategy) === name);
    const points = mine.flatMap((score) => {
      const at = x(score);
      const { value, low, high } = score.divergence;
      const label = name === "lsh" ? score.strategy : undefined;
      return at === null ? [] : [{ x: at, y: value, low, high, ...(label && { label }) }];
    });
    return { name, points: points.toSorted((a, b) => a.x - b.x) };
  });
  return {
    title: `KL from full attention, ${title}`,
    x: { title, log: true, percent: true },
    y: { title: "nats", log: true },
    series,
  };
}

/** Writes kl.md, kl.json and kl.svg; returns the page. */
export async function writeDivergences(
  folder: string,
  found: readonly Divergence[],
  facts: DivergenceFacts,
): Promise<string> {
  const scores = scoreDivergences(found);
  const text = page(scores, facts);
  await Deno.writeTextFile(`${folder}/kl.md`, text);
  await Deno.writeTextFile(
    `${folder}/kl.svg`,
    chartSvg([
      panel(scores, "keys read a query head", ({ chosenKeys }) => chosenKeys),
      panel(scores, "rows read a KV head", ({ chosenRows }) => chosenRows),
    ]),
  );
  await Deno.writeTextFile(
    `${folder}/kl.json`,
    JSON.stringify({ run: facts, scores, found }) + "\n",
  );
  return text;
}
