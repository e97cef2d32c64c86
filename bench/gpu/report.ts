// SPDX-License-Identifier: Apache-2.0
/** What `deno task bench:gpu` writes: a Markdown page, JSON and a plot. */
import { table } from "../eval/tables.ts";
import { chartSvg, type Panel, type Series } from "../figures/chart.ts";
import { isDivided, msAt, projectMs, type Rates, totalOf } from "./arithmetic.ts";
import { stageTable } from "./stages.ts";
import type { Point, SettingResult, TimedPrefill } from "./run.ts";

/** What was run, and at what rates figures are compared. */
export interface GpuFacts {
  command: string;
  engine: string;
  machine: string;
  here: Rates;
  there: Rates;
}

const ms = (value: number) => value >= 100 ? value.toFixed(0) : value.toFixed(1);
const seriesName = ({ strategy, where }: Point) => `${strategy}, ${where}`;
const rate = (value: number) => value >= 100 ? value.toFixed(0) : value.toFixed(1);

function groups(points: readonly Point[]): Map<string, Point[]> {
  const found = new Map<string, Point[]>();
  for (const point of points) {
    found.set(seriesName(point), [...found.get(seriesName(point)) ?? [], point]);
  }
  return found;
}

function ratesText({ vram, wire }: Rates): string {
  return `${(vram / 1e9).toFixed(0)} GB/s of its memory and ${
    (wire / 1e9).toFixed(1)
  } GB/s from the host's`;
}

/** A token at batch 1: measured, its bytes at the roofs, and what they make of it elsewhere. */
function singleTable(points: readonly Point[], { here, there }: GpuFacts): string {
  const single = points.filter(({ batch }) => batch === 1);
  return table(
    [
      "attention",
      "context",
      "ms a token",
      "rows a KV head",
      "GPU's memory, GB",
      "from the host, GB",
      "these at the roofs, ms",
      "projected, ms (arithmetic)",
    ],
    single.map((point) => {
      const traffic = totalOf(point.stageTraffic);
      return [
        seriesName(point),
        point.context.toLocaleString("en-US"),
        `${ms(point.ms.median)} (${ms(point.ms.least)} to ${ms(point.ms.most)})`,
        point.rows === null ? "all" : point.rows.toFixed(0),
        (traffic.vram / 1e9).toFixed(2),
        (traffic.wire / 1e9).toFixed(2),
        isDivided(point) ? "–" : ms(msAt(traffic, here)),
        isDivided(point) ? "–" : ms(projectMs(point.ms.median, traffic, here, there)),
      ];
    }),
  );
}

/** Tokens a second by batch; "–" where a batch does not fit. */
function batchTable(points: readonly Point[]): string {
  const batches = [...new Set(points.map(({ batch }) => batch))].toSorted((a, b) => a - b);
  return table(
    ["tokens/s at batch", ...batches.map(String), "most"],
    [...groups(points)].map(([name, own]) => {
      const at = new Map(own.map((point) => [point.batch, point.tokensPerSecond]));
      const most = Math.max(...at.values());
      return [name, ...batches.map((b) => at.has(b) ? rate(at.get(b)!) : "–"), rate(most)];
    }),
  );
}

/** The best sampled series against the best of full attention. */
export function gainSentence(points: readonly Point[]): string | null {
  const best = (own: readonly Point[]) =>
    own.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];
  const full = best(points.filter(({ strategy }) => strategy === "full"));
  const sampled = best(points.filter(({ strategy }) => strategy !== "full"));
  if (full === undefined || sampled === undefined) return null;
  const said = (point: Point) =>
    `${rate(point.tokensPerSecond)} tokens/s at batch ${point.batch} (${seriesName(point)})`;
  return `Most: ${said(sampled)}; full attention ${said(full)}: ` +
    `${(sampled.tokensPerSecond / full.tokensPerSecond).toFixed(2)} ×.`;
}

/** From which batch on a sampled step is shorter than a full one in the same engine, for each length. */
export function breakEven(points: readonly Point[]): string[] {
  const lengths = [...new Set(points.map(({ context }) => context))].toSorted((a, b) => a - b);
  return lengths.flatMap((length) => {
    const own = points.filter(({ context }) => context === length);
    const fullOf = ({ where, batch }: Point) =>
      own.find((p) => p.strategy === "full" && p.where === where && p.batch === batch);
    const ratios = own.filter((p) => p.strategy.startsWith("sketch") && fullOf(p) !== undefined)
      .map((p) => ({ batch: p.batch, ratio: fullOf(p)!.ms.median / p.ms.median }));
    if (ratios.length === 0) return [];
    const from = ratios.findIndex((_, i) => ratios.slice(i).every(({ ratio }) => ratio > 1));
    const last = ratios.at(-1)!;
    const end = `at batch ${last.batch} it is ${last.ratio.toFixed(2)} × as fast as full attention`;
    const tokens = length.toLocaleString("en-US");
    return [
      from < 0
        ? `At ${tokens} tokens sampling does not pay up to here: ${end}.`
        : `At ${tokens} tokens sampling pays from batch ${ratios[from]!.batch} on; ${end}.`,
    ];
  });
}

/** Prefill by where KV lies, and which index is made on the way. */
export function prefillTable(prefill: readonly TimedPrefill[]): string {
  const lengths = [...new Set(prefill.map(({ tokens }) => tokens))];
  const engines = [...new Map(prefill.map((one) => [`${one.where} ${one.index}`, one])).values()];
  const at = (tokens: number, { where, index }: Omit<TimedPrefill, "tokens" | "seconds">) =>
    prefill.find((one) => one.tokens === tokens && one.where === where && one.index === index)
      ?.seconds;
  const plain = engines.find(({ index }) => index === null);
  const cell = (tokens: number, engine: TimedPrefill) => {
    const seconds = at(tokens, engine), base = plain && at(tokens, plain);
    if (seconds === undefined) return "–";
    const added = base === undefined || engine === plain
      ? ""
      : `, ${seconds < base ? "−" : "+"}${(100 * Math.abs(seconds / base - 1)).toFixed(1)} %`;
    return `${rate(tokens / seconds)} (${seconds.toFixed(2)} s${added})`;
  };
  return table(
    ["prefill, tokens/s", "index", ...lengths.map((n) => n.toLocaleString("en-US"))],
    engines.map((engine) => [
      engine.where,
      engine.index ?? "none",
      ...lengths.map((tokens) => cell(tokens, engine)),
    ]),
  );
}

function settingPart(
  { setting, points, prefill, notes }: SettingResult,
  facts: GpuFacts,
): string[] {
  const of = (name: Point["table"]) => points.filter((point) => point.table === name);
  const main = of("throughput"), long = of("long"), vram = of("vram");
  const gain = gainSentence(main);
  const part = (title: string, own: readonly unknown[], text: () => string[]) =>
    own.length === 0 ? [] : [`### ${title}`, ...text()];
  const stagePart = (name: Point["table"]) => {
    const stages = stageTable(of(name), facts.here, seriesName);
    return stages === null ? [] : ["Time and bytes by stage:", stages];
  };
  const lengths = [...new Set(vram.map(({ context }) => context))];
  return [
    `## ${setting.title}`,
    ...part("Batch 1", main, () => [singleTable(main, facts)]),
    ...part("Batches", main, () => [batchTable(main), ...(gain === null ? [] : [gain])]),
    ...stagePart("throughput"),
    ...part("Longer contexts", long, () => [singleTable(long, facts)]),
    ...stagePart("long"),
    ...part("Sampling in the GPU's memory, no cap", vram, () => [
      ...lengths.flatMap((length) => [
        `${length.toLocaleString("en-US")} tokens of context:`,
        batchTable(vram.filter(({ context }) => context === length)),
      ]),
      ...breakEven(vram),
    ]),
    ...stagePart("vram"),
    ...part("Prefill, no cap", prefill, () => [prefillTable(prefill)]),
    ...part("Engines", notes, () => [notes.map((note) => `- ${note}`).join("\n")]),
  ];
}

export function gpuMarkdown(results: readonly SettingResult[], facts: GpuFacts): string {
  return [
    "# Decode on a GPU, with KV in its memory and in the host's",
    `\`${facts.command}\`. ${facts.machine}. ${facts.engine}.`,
    "Seeded weights; contexts of seeded noise, each with blocks of its own. Times are what the caller of a step " +
    "sees, choosing tokens included: medians, in brackets the least and the most. " +
    `Roofs: ${
      ratesText(facts.here)
    }. **Projected** is arithmetic, not a measurement: what the same bytes take ` +
    `longer at ${
      ratesText(facts.there)
    }, and all else as here. Stages are those of steps that tell them apart: ` +
    "launched kernel by kernel, and each alone, so that together they take longer than a step that is recorded. " +
    "Bytes are those that must move; those that the CPU reads have no roof here, and of `lsh` are rows alone. " +
    "Where both attend, bytes are those that the GPU would read by itself, which bounds nothing.",
    ...results.flatMap((result) => settingPart(result, facts)),
  ].join("\n\n") + "\n";
}

function seriesOf(points: readonly Point[], y: (point: Point) => number): Series[] {
  return [...groups(points)].map(([name, own]) => ({
    name,
    points: own.map((point) => ({ x: point.batch, y: y(point) })),
  }));
}

/** Throughput against batch, a panel for each setting, and one for sampling in the GPU's memory. */
export function gpuSvg(results: readonly SettingResult[]): string {
  const panels = results.flatMap(({ setting, points }): Panel[] => {
    const of = (name: Point["table"]) => points.filter((point) => point.table === name);
    const x = { title: "contexts that decode together" };
    const y = { title: "tokens/s", from: 0 };
    const vram = of("vram");
    const longest = Math.max(0, ...vram.map(({ context }) => context));
    const last = vram.filter(({ context }) => context === longest);
    return [
      { title: setting.title, x, y, series: seriesOf(of("throughput"), (p) => p.tokensPerSecond) },
      ...(last.length === 0 ? [] : [{
        title: `${setting.title.split(",")[0]}, ${longest.toLocaleString("en-US")}, all in VRAM`,
        x,
        y,
        series: seriesOf(last, (p) => p.tokensPerSecond),
      }]),
    ];
  });
  return chartSvg(panels.filter(({ series }) => series.length > 0));
}

/** Writes gpu.md, gpu.json and gpu.svg, also while settings are still missing. */
export async function writeGpuReport(
  folder: string,
  results: readonly SettingResult[],
  facts: GpuFacts,
): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(`${folder}/gpu.md`, gpuMarkdown(results, facts));
  await Deno.writeTextFile(`${folder}/gpu.json`, JSON.stringify({ run: facts, results }, null, 1));
  await Deno.writeTextFile(`${folder}/gpu.svg`, gpuSvg(results));
}
