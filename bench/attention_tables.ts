// SPDX-License-Identifier: Apache-2.0
/** What the figures of the attention bench say, as a table and as the bars that they must pass. */

/** One length: figures that hold for all rounds, and milliseconds, one for each round. */
export interface AttentionRun {
  length: number;
  level: string;
  figures: Record<string, number>;
  times: Record<string, number[]>;
}

const LSH = ["lsh_10x150", "lsh_9x120", "lsh_8x75"];
const SKETCHES = ["sketch_2bit", "sketch_1bit"];

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.round(share * (sorted.length - 1))]!;
}

function median(run: AttentionRun, name: string): number {
  const times = run.times[name];
  if (times === undefined) return NaN;
  return quantile(times.toSorted((a, b) => a - b), 0.5);
}

/** "3.21 (3.10–3.40)": the median, and what half of the rounds lie between. */
function spread(run: AttentionRun, name: string): string {
  const sorted = run.times[name]!.toSorted((a, b) => a - b);
  const [middle, low, high] = [0.5, 0.25, 0.75].map((share) => quantile(sorted, share).toFixed(2));
  return `${middle} (${low}–${high})`;
}

/** A row: what, milliseconds, GB/s and share of the stream where bytes are known, and a remark. */
function row(run: AttentionRun, what: string, name: string, bytes: number, remark: string): string {
  const stream = run.figures["kv"]! / median(run, "stream");
  const rate = bytes / median(run, name);
  const cells = bytes > 0
    ? `${(rate / 1e6).toFixed(1)} | ${(100 * rate / stream).toFixed(0)} %`
    : "– | –";
  return `| ${what} | ${spread(run, name)} | ${cells} | ${remark} |`;
}

function share(run: AttentionRun, name: string, of: string): string {
  return `${(median(run, name) / median(run, of)).toFixed(3)} × ${of}`;
}

function methodRows(run: AttentionRun, name: string): string[] {
  const { figures } = run;
  const gathered = figures[`${name}.gathered`]!;
  const keys = `${figures[`${name}.keys`]!.toFixed(2)} % of the keys a head`;
  const found = `error ${figures[`${name}.error`]!.toFixed(4)}, index ` +
    `${(figures[`${name}.index`]! / 1e6).toFixed(1)} MB`;
  const rows: string[] = [];
  if (SKETCHES.includes(name)) {
    rows.push(row(run, `${name}: scan`, `${name}.scan`, figures[`${name}.index`]!, ""));
    rows.push(row(run, `${name}: scan and select`, `${name}.select`, 0, found));
  } else rows.push(row(run, `${name}: retrieve`, `${name}.select`, 0, found));
  rows.push(row(run, `${name}: attend`, `${name}.gather`, gathered, keys));
  rows.push(row(run, `${name}: bare gather`, `${name}.bare`, gathered, ""));
  const beside = ["dense", ...(run.times["torch"] === undefined ? [] : ["torch"])]
    .map((other) => share(run, `${name}.total`, other));
  const bare = (median(run, `${name}.total`) / median(run, `${name}.bare`)).toFixed(2);
  const remark = [`${bare} × its bare gather`, ...beside].join(", ");
  rows.push(row(run, `**${name}: all**`, `${name}.total`, 0, remark));
  return rows;
}

/** Markdown, a line for each case. */
export function tableOf(run: AttentionRun): string[] {
  const kv = run.figures["kv"]!;
  return [
    "| what | ms, median (half of the rounds) | GB/s | of stream | |",
    "|---|---|---|---|---|",
    row(run, "reading K and V", "stream", kv, ""),
    row(run, "dense", "dense", kv, ""),
    ...(run.times["torch"] === undefined ? [] : [row(run, "PyTorch dense", "torch", kv, "")]),
    ...[...LSH, ...SKETCHES].flatMap((name) => methodRows(run, name)),
  ];
}

function bar(what: string, got: number, most: number): string {
  const says = got <= most ? "reached" : "MISSED";
  return `- ${what}: ${got.toFixed(3)}, at most ${most}: ${says}`;
}

/** The bars, and whether this run reached them. */
export function barsOf(run: AttentionRun): string[] {
  const total = (name: string) => median(run, `${name}.total`);
  const bars = [
    bar("stream / dense bandwidth", median(run, "dense") / median(run, "stream"), 1 / .85),
  ];
  for (const name of LSH) {
    bars.push(bar(`${name} / its bare gather`, total(name) / median(run, `${name}.bare`), 1.6));
  }
  const first = LSH[0]!;
  if (run.times["torch"] !== undefined) {
    bars.push(bar(`${first} / PyTorch dense`, total(first) / median(run, "torch"), 0.11));
  }
  for (const name of SKETCHES) {
    const index = run.figures[`${name}.index`]! / run.figures[`${first}.index`]!;
    bars.push(bar(`${name} / ${first} at its error`, total(name) / total(first), 1));
    bars.push(bar(`${name} / ${first}, index bytes`, index, 0.125));
  }
  return ["", ...bars];
}
