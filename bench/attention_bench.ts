// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench:attention`: one layer's attention of one query token over a long context (8 KV heads of
 * 32 query heads, head_dim 128, bf16), dense and sampled, beside what reading the same bytes takes and beside
 * PyTorch's dense attention, in one run with cold caches.
 *
 *   deno task bench:attention                                  98,304 keys
 *   deno task bench:attention --lengths 16384,98304,262144
 *   deno task bench:attention --no-peer                        without PyTorch
 *   deno task bench:attention --rounds 21 --threads 2
 *   deno task bench:attention --save                           also into bench/results/attention.json
 */
import { parseArgs } from "node:util";
import { findTorch, startTorch } from "./attention_torch.ts";
import { type AttentionRun, barsOf, tableOf } from "./attention_tables.ts";
import { buildBench } from "./roofline.ts";
import { TurnTaker } from "./turns.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const SHAPE = { kvHeads: 8, group: 4, headDim: 128 };

interface Options {
  program: string;
  python: string | null;
  threads: string | undefined;
  rounds: string;
}

/** Reads what the native bench prints up to the end of a round; false when it has ended. */
async function readRound(native: TurnTaker, run: AttentionRun): Promise<boolean> {
  for (;;) {
    const line = await native.line();
    if (line === null) return false;
    const [kind, name = "", value] = line.split(" ");
    if (kind === "round") return true;
    if (kind === "level") run.level = name;
    if (kind === "figure") run.figures[name] = Number(value);
    if (kind === "time") (run.times[name] ??= []).push(Number(value));
  }
}

/** Rounds of the native bench and calls of PyTorch take turns. */
async function measure(length: number, options: Options): Promise<AttentionRun> {
  const run: AttentionRun = { length, level: "", figures: {}, times: {} };
  const threads = options.threads === undefined ? [] : ["--threads", options.threads];
  const args = [String(length), "--rounds", options.rounds, "--paced", ...threads];
  const native = new TurnTaker(options.program, args);
  let torch: TurnTaker | null = null;
  for (let round = 0; await readRound(native, run); ++round) {
    if (round === 0 && options.python !== null) {
      const shape = { ...SHAPE, length, threads: run.figures["threads"]! };
      torch = await startTorch(options.python, shape);
    }
    await torch?.send("");
    const time = torch === null ? null : await torch.line();
    if (time !== null) (run.times["torch"] ??= []).push(Number(time));
    await native.send("");
  }
  await torch?.end();
  if (!await native.end()) throw new Error("the native bench failed (message above)");
  return run;
}

function cpuName(): string {
  const text = Deno.readTextFileSync("/proc/cpuinfo");
  return text.match(/model name\s*: (.*)/)?.[1] ?? "unknown CPU";
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      "lengths": { type: "string", default: "98304" },
      "rounds": { type: "string", default: "15" },
      "threads": { type: "string" },
      "no-peer": { type: "boolean", default: false },
      "save": { type: "boolean", default: false },
    },
  });
  const python = values["no-peer"] ? null : await findTorch();
  const program = await buildBench("sampled_bench");
  const { threads, rounds } = values;
  const runs: AttentionRun[] = [];
  for (const length of values.lengths.split(",").map(Number)) {
    console.error(`Measuring ${length} keys …`);
    const run = await measure(length, { program, python, threads, rounds });
    runs.push(run);
    const { level, figures } = run;
    console.log(`\n### ${length} keys: ${cpuName()}, ${figures["threads"]} threads, ${level}\n`);
    console.log(tableOf(run).join("\n"));
    console.log(barsOf(run).join("\n"));
  }
  if (!values.save) return;
  await Deno.mkdir(`${ROOT}bench/results`, { recursive: true });
  const result = { cpu: cpuName(), date: new Date().toISOString(), runs };
  await Deno.writeTextFile(`${ROOT}bench/results/attention.json`, JSON.stringify(result, null, 2));
}

await main();
