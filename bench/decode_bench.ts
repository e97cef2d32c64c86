// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench:decode`: tokens a second of decode with sampled attention beside exact attention, over the
 * same contexts of one engine, in one run.
 *
 *   deno task bench:decode                                    recall at 32,000 tokens
 *   deno task bench:decode --lengths 8192,32000 --strategies full,sketch@0.02,lsh
 *   deno task bench:decode --dummy bench/shapes/8-layers.json --lengths 98304,262144
 *   deno task bench:decode --dense-layers 0                    layer 0 is exact
 *
 * Contexts of recall are prefilled; those of random weights are filled with noise, since nobody would wait for
 * their prefill. Positions may pass the trained range: this measures speed.
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../ffi/engine.ts";
import {
  type AttentionParams,
  FULL_ATTENTION,
  GREEDY,
  LAST_SAMPLED,
  STRATEGIES,
} from "../src/engine/engine.ts";
import { NO_INDEX } from "../src/engine/settings.ts";
import { dummyModel, openModel } from "../src/model/source.ts";
import { extend, type Speed, speedOf } from "./measure.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const DECODED = 32;
const ROUNDS = 5;

/** "sketch@0.02" */
function paramsOf(text: string): AttentionParams {
  const [name, budget] = text.split("@");
  const strategy = STRATEGIES.find((one) => one === name);
  if (strategy === undefined) throw new Error(`${text}: a strategy is one of ${STRATEGIES}`);
  return { ...FULL_ATTENTION, strategy, budget: Number(budget ?? "0.02"), beta: 1, seed: 1n };
}

interface Row {
  name: string;
  speed: Speed;
  keysRead: number;
  rows: number;
  attentionMs: number;
}

/** Decodes after the context's end, for each strategy in turn, so that all see the same machine. */
async function decodeAll(
  engine: NativeEngine,
  context: number,
  strategies: readonly string[],
): Promise<Row[]> {
  const length = engine.contextLength(context);
  const rows = strategies.map((name) => ({ name, figures: [] as number[], ms: [] as number[] }));
  const last = new Map<string, { keysRead: number; rows: number }>();
  for (let round = 0; round < ROUNDS; ++round) {
    for (const { name, figures, ms } of rows) {
      const attention = { ...paramsOf(name), from: length, verify: false };
      const step = {
        context,
        sampling: GREEDY,
        choice: 0,
        promptTokens: length,
        alternatives: 0,
        attention,
      };
      await engine.step([{ ...step, tokens: [7] }]);
      const start = performance.now();
      let attentionMs = 0;
      for (let i = 0; i < DECODED; ++i) {
        const { sequences, stageMs } = await engine.step([{ ...step, tokens: [LAST_SAMPLED] }]);
        const { failure, keysRead, sampled } = sequences[0]!;
        if (failure !== null) throw new Error(`${name}: ${failure}`);
        attentionMs += stageMs.attention / DECODED;
        last.set(name, { keysRead, rows: sampled?.chosenRows ?? keysRead });
      }
      figures.push(1000 * DECODED / (performance.now() - start));
      ms.push(attentionMs);
      engine.truncateContext(context, length);
    }
  }
  return rows.map(({ name, figures, ms }) => ({
    name,
    speed: speedOf(length, figures),
    attentionMs: speedOf(length, ms).median,
    ...last.get(name)!,
  }));
}

function print(title: string, rows: readonly Row[]): void {
  const full = rows.find((row) => row.name === "full")?.speed.median;
  console.log(`\n### ${title}\n`);
  console.log("| attention | tok/s | against full | attention ms | keys a head | rows sampled |");
  console.log("|---|---|---|---|---|---|");
  for (const { name, speed, attentionMs, keysRead, rows: read } of rows) {
    const ratio = full === undefined ? "–" : `${(speed.median / full).toFixed(2)} ×`;
    const range = `${speed.median.toFixed(1)} (${speed.least.toFixed(1)}–${speed.most.toFixed(1)})`;
    console.log(
      `| ${name} | ${range} | ${ratio} | ${attentionMs.toFixed(2)} | ${keysRead.toFixed(0)} | ` +
        `${read.toFixed(0)} |`,
    );
  }
}

const { values } = parseArgs({
  args: Deno.args,
  options: {
    "lengths": { type: "string", default: "32000" },
    "strategies": { type: "string", default: "full,sketch@0.02,sketch@0.01" },
    "threads": { type: "string", default: "0" },
    "dummy": { type: "string" },
    "bits": { type: "string", default: "2" },
    "lsh": { type: "string", default: "10x150" },
    "dense-layers": { type: "string", default: "none" },
  },
});
const lengths = values.lengths.split(",").map(Number).toSorted((a, b) => a - b);
const strategies = values.strategies.split(",");
const longest = lengths.at(-1)!;
const [bits, tables] = values.lsh.split("x").map(Number);
const source = values.dummy === undefined
  ? await openModel(`${ROOT}models/recall`)
  : await dummyModel(values.dummy);
const engine = await NativeEngine.open(source, {
  threads: Number(values.threads),
  context: longest + 128,
  kvBlocks: Math.ceil(longest / 128) + 2,
  maxStepTokens: 2048,
  maxContexts: 2,
  maxStepSequences: 2,
  index: {
    ...NO_INDEX,
    denseLayers: values["dense-layers"] === "none"
      ? []
      : values["dense-layers"].split(",").map(Number),
    sketchBits: Number(values.bits) as 1 | 2 | 4,
    lsh: strategies.some((name) => name.startsWith("lsh"))
      ? { bits: bits!, tables: tables! }
      : null,
    lshTokens: longest + 4096,
  },
});
console.log(engine.info().text);
const context = engine.createContext();
for (const length of lengths) {
  console.error(`Filling a context of ${length} tokens …`);
  const more = length - engine.contextLength(context);
  if (values.dummy === undefined) await extend(engine, context, length);
  else await engine.fillContext(context, more, 1);
  print(`${length} tokens`, await decodeAll(engine, context, strategies));
}
await engine.close();
