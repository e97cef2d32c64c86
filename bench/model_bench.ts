// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench`: prefill and decode speed of recall and SmolLM2, beside what the machine can do at
 * best and beside llama.cpp, all measured in one run.
 *
 *   deno task bench                     everything (minutes)
 *   deno task bench --lengths 512,4096  other lengths
 *   deno task bench --no-peer           without llama.cpp
 *   deno task bench --dummy config.json random weights in that shape instead of SmolLM2
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../ffi/engine.ts";
import type { ModelConfig, ModelSource } from "../src/model/model.ts";
import { dummyModel, openModel } from "../src/model/source.ts";
import { measureLlamaCpp, type PeerFigure } from "./llama_cpp.ts";
import { measure, type Speed } from "./measure.ts";
import { figure, nativeBench } from "./roofline.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const SMOLLM2 = `${ROOT}models/smollm2-135m-instruct/model.gguf`;
const LENGTHS = [128, 512, 2048, 4096, 7000, 16384];
/** Lengths at which llama.cpp is measured: longer ones take it many minutes. */
const PEER_LENGTHS = [128, 512, 2048, 7000];
/** Working sets below this stay in the last-level cache, where reading is quicker. */
const CACHE_BYTES = 64 << 20;

interface Ceilings {
  streamGbs: number;
  cachedGbs: number;
  matmulGflops: number;
}

/** Floating-point operations of prefill: products of all tokens, and causal attention. */
function prefillFlops(c: ModelConfig, tokens: number): number {
  const q = c.heads * c.headDim, kv = c.kvHeads * c.headDim;
  const layer = c.hidden * (2 * q + 2 * kv) + 3 * c.hidden * c.intermediate;
  return 2 * tokens * c.layers * layer + 2 * tokens * tokens * q * c.layers;
}

/** Bytes that a decoded token reads: weights (an untied embedding is looked up, not read) and KV. */
function decodeBytes(c: ModelConfig, weightBytes: number, depth: number): number {
  const embedding = c.tiedOutput ? 0 : 2 * c.vocabulary * c.hidden;
  return weightBytes - embedding + 4 * depth * c.layers * c.kvHeads * c.headDim;
}

function spread({ median, least, most }: Speed): string {
  const digits = median < 100 ? 1 : 0;
  return `${median.toFixed(digits)} (${least.toFixed(digits)}–${most.toFixed(digits)})`;
}

function peerCell(peer: PeerFigure[] | null, kind: PeerFigure["kind"], speed: Speed): string {
  const figures = (peer ?? []).filter((f) => f.kind === kind && f.tokens === speed.tokens);
  if (figures.length === 0) return "– | –";
  const best = Math.max(...figures.map((f) => f.perSecond));
  return `${best.toFixed(best < 100 ? 1 : 0)} | ${(speed.median / best).toFixed(2)} ×`;
}

async function benchModel(
  name: string,
  source: ModelSource,
  ceilings: Ceilings,
  options: { lengths: number[]; threads: number; peer: PeerFigure[] | null },
): Promise<void> {
  const context = Math.max(...options.lengths) + 64;
  const engine = await NativeEngine.open(source, {
    threads: options.threads,
    context,
    kvBlocks: Math.ceil(context / 128) + 1,
    maxStepTokens: 2048,
  });
  const { weightBytes, text } = engine.info();
  const speeds = await measure(engine, options.lengths, 3);
  await engine.close();

  console.log(`\n### ${name} (${text})\n`);
  console.log("| tokens | prefill tok/s | GFLOP/s | of product | llama.cpp | ours / it |");
  console.log("|---|---|---|---|---|---|");
  for (const speed of speeds.prefill) {
    const gflops = prefillFlops(source.config, speed.tokens) / speed.tokens * speed.median / 1e9;
    const share = (100 * gflops / ceilings.matmulGflops).toFixed(0);
    const peer = peerCell(options.peer, "prefill", speed);
    console.log(
      `| ${speed.tokens} | ${spread(speed)} | ${gflops.toFixed(0)} | ${share} % | ${peer} |`,
    );
  }
  console.log("\n| depth | decode tok/s | GB/s | of stream | llama.cpp | ours / it |");
  console.log("|---|---|---|---|---|---|");
  for (const speed of speeds.decode) {
    const bytes = decodeBytes(source.config, weightBytes, speed.tokens);
    const gbs = bytes * speed.median / 1e9;
    const stream = bytes < CACHE_BYTES ? ceilings.cachedGbs : ceilings.streamGbs;
    const share = (100 * gbs / stream).toFixed(0);
    const peer = peerCell(options.peer, "decode", speed);
    console.log(
      `| ${speed.tokens} | ${spread(speed)} | ${gbs.toFixed(1)} | ${share} % | ${peer} |`,
    );
  }
}

function cpuName(): string {
  const text = Deno.readTextFileSync("/proc/cpuinfo");
  return text.match(/model name\s*: (.*)/)?.[1] ?? "unknown CPU";
}

async function measureCeilings(wanted: string): Promise<Ceilings & { threads: number }> {
  console.error("Measuring what the machine can do …");
  const lines = await nativeBench("kernels_bench", ...(wanted === "0" ? [] : [wanted]));
  const products = lines.filter((line) => /^gemm_\S+_tokens512 /.test(line));
  const threads = figure(lines, "threads");
  const streamGbs = figure(lines, "stream_read_512MiB");
  const cachedGbs = figure(lines, "stream_read_24MiB");
  const matmulGflops = Math.max(...products.map((line) => Number(line.split(" ")[1])));
  console.log(`${cpuName()}, ${threads} threads, Deno ${Deno.version.deno}`);
  console.log(
    `Roofline: stream ${streamGbs.toFixed(1)} GB/s (24 MiB: ${cachedGbs.toFixed(1)}), matrix ` +
      `product ${matmulGflops.toFixed(0)} GFLOP/s (best of the shapes at 512 tokens)`,
  );
  return { streamGbs, cachedGbs, matmulGflops, threads };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      "lengths": { type: "string" },
      "threads": { type: "string", default: "0" },
      "no-peer": { type: "boolean", default: false },
      "dummy": { type: "string" },
    },
  });
  const lengths = values.lengths?.split(",").map(Number) ?? LENGTHS;
  const { threads, ...ceilings } = await measureCeilings(values.threads);
  console.error("Measuring recall …");
  await benchModel("recall, 15 M", await openModel(`${ROOT}models/recall`), ceilings, {
    lengths,
    threads,
    peer: null,
  });
  if (values.dummy !== undefined) {
    const source = await dummyModel(values.dummy);
    await benchModel(values.dummy, source, ceilings, { lengths, threads, peer: null });
    return;
  }
  if (!await Deno.stat(SMOLLM2).then(() => true, () => false)) {
    console.log("\nSmolLM2 is not there: `deno task model:smollm2` fetches it.");
    return;
  }
  console.error("Measuring llama.cpp …");
  const peerLengths = PEER_LENGTHS.filter((n) => lengths.includes(n));
  const peer = values["no-peer"] ? null : await measureLlamaCpp(SMOLLM2, threads, peerLengths);
  console.error("Measuring SmolLM2 …");
  await benchModel("SmolLM2-135M-Instruct, Q4_1 file", await openModel(SMOLLM2), ceilings, {
    lengths,
    threads,
    peer,
  });
}

await main();
