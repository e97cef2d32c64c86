// SPDX-License-Identifier: Apache-2.0
/**
 * Sounder's server beside llama.cpp's library as a server (bench/llama_server.mjs) on SmolLM2, the same GGUF
 * file, both over HTTP and by turns: bursts of clients with prompts that nobody sent before, then a long
 * prompt, the same again, and another last question about it. Also into bench/results/serving.json.
 *
 *   deno task bench:serving [--repeats 3] [--clients 1,4,8,16] [--document 7000] [--threads 2] [--no-peer]
 */
import { parseArgs } from "node:util";
import { TestServer } from "../tests/fixtures/server.ts";
import { gaps, percentile, randomTokens, stream } from "./completions.ts";
import { LlamaServer, VERSION } from "./llama_cpp.ts";
import {
  bars,
  type Both,
  prefixTable,
  type ServerFigures,
  type StreamFigures,
  streamTable,
} from "./serving_tables.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const PROMPT = 256, GENERATED = 64, QUESTION = 20;
/** Of SmolLM2, less its special tokens at the start, which a prompt of chance should not have. */
const VOCABULARY = 49_000, SPECIAL = 20;
/** Of a sequence of llama.cpp, beyond the document. */
const SEQUENCE_SLACK = 128;
/** Processes that want to run before the bench does, from which on figures say little. */
const BUSY = 0.5;

interface Machine {
  cpu: string;
  /** Of the minute before the start. */
  otherLoad: number;
}

const { values } = parseArgs({
  options: {
    "model": { type: "string", default: `${ROOT}models/smollm2-135m-instruct/model.gguf` },
    "repeats": { type: "string", default: "3" },
    "clients": { type: "string", default: "1,4,8,16" },
    "document": { type: "string", default: "7000" },
    "memory": { type: "string", default: "6GiB" },
    "threads": { type: "string", default: String(navigator.hardwareConcurrency) },
    "no-peer": { type: "boolean", default: false },
  },
});
const clients = values.clients.split(",").map(Number);
const documentTokens = Number(values.document);

let seed = 1;
/** Tokens that no prompt before had. */
function newTokens(count: number): number[] {
  return randomTokens(count, VOCABULARY - SPECIAL, seed++).map((token) => token + SPECIAL);
}

async function burst(url: string, prompts: readonly number[][], into: StreamFigures) {
  const started = performance.now();
  const all = await Promise.all(
    prompts.map((prompt) => stream(url, { prompt, max_tokens: GENERATED, ignore_eos: true })),
  );
  const seconds = (performance.now() - started) / 1000;
  const between = all.flatMap(({ times }) => gaps(times));
  into.firstToken.push(percentile(all.map(({ times }) => times[0]!), 0.5));
  into.betweenP50.push(percentile(between, 0.5));
  into.betweenP99.push(percentile(between, 0.99));
  into.perSecond.push(all.reduce((sum, { tokens }) => sum + tokens, 0) / seconds);
}

async function firstToken(url: string, prompt: number[]): Promise<number> {
  return (await stream(url, { prompt, max_tokens: 4, ignore_eos: true })).times[0]!;
}

/** What is sent in one repeat, to both alike. */
function newPrompts() {
  const document = newTokens(documentTokens - QUESTION);
  const ask = () => [...document, ...newTokens(QUESTION)];
  return {
    bursts: clients.map((count) => Array.from({ length: count }, () => newTokens(PROMPT))),
    first: ask(),
    second: ask(),
  };
}

/** One repeat's turns: for each piece of work, every server in this order. */
async function repeat(servers: readonly { url: string; figures: ServerFigures }[]): Promise<void> {
  const { bursts, first, second } = newPrompts();
  for (const [i, prompts] of bursts.entries()) {
    for (const { url, figures } of servers) await burst(url, prompts, figures.streams[i]!);
  }
  for (const { url, figures: { prefix } } of servers) {
    prefix.cold.push(await firstToken(url, first));
    prefix.repeat.push(await firstToken(url, first));
    prefix.question.push(await firstToken(url, second));
  }
}

function noFigures(): ServerFigures {
  return {
    streams: clients.map((count) => ({
      clients: count,
      firstToken: [],
      betweenP50: [],
      betweenP99: [],
      perSecond: [],
    })),
    prefix: { cold: [], repeat: [], question: [] },
  };
}

function show(both: Both, machine: Machine): void {
  console.log(
    `${machine.cpu}, ${values.threads} threads; medians of ${values.repeats} with their range. ` +
      `llama.cpp: node-llama-cpp ${VERSION}'s library with flash attention behind ` +
      "bench/llama_server.mjs.",
  );
  if (machine.otherLoad > BUSY) {
    console.log(
      `The machine was busy: load ${
        machine.otherLoad.toFixed(1)
      } before the start. llama.cpp loses ` +
        "more by it than Sounder, as its threads wait for each other by spinning.",
    );
  }
  console.log(`\nPrompts of ${PROMPT} tokens, ${GENERATED} generated, greedy:\n`);
  console.log(`${streamTable(both)}\n\n${prefixTable(both, documentTokens)}\n`);
  for (const { what, seen, good } of bars(both)) {
    console.log(`${good ? "good  " : "MISSED"}  ${what}: ${seen.toFixed(2)}`);
  }
}

const machine: Machine = {
  cpu: Deno.readTextFileSync("/proc/cpuinfo").match(/model name\s*: (.*)/)?.[1] ?? "unknown CPU",
  otherLoad: Deno.loadavg()[0]!,
};
await using server = new TestServer([
  ...["--quiet", "--model", values.model, "--memory", values.memory],
  ...["--threads", values.threads],
]);
const url = await server.ready();
await using peer = values["no-peer"] ? null : await LlamaServer.start(values.model, {
  threads: Number(values.threads),
  sequences: Math.max(...clients),
  context: documentTokens + SEQUENCE_SLACK,
});
const both: Both = { ours: noFigures(), peer: peer && noFigures() };
const servers = [
  { url, figures: both.ours },
  ...(peer === null ? [] : [{ url: peer.url, figures: both.peer! }]),
];
for (const { url } of servers) await stream(url, { prompt: newTokens(8), max_tokens: 4 });
for (let i = 0; i < Number(values.repeats); i++) {
  console.error(`Repeat ${i + 1} of ${values.repeats} …`);
  await repeat(i % 2 === 0 ? servers : servers.toReversed());
}
show(both, machine);
await Deno.mkdir(`${ROOT}bench/results`, { recursive: true });
await Deno.writeTextFile(
  `${ROOT}bench/results/serving.json`,
  JSON.stringify(
    { machine, threads: Number(values.threads), documentTokens, ...both, bars: bars(both) },
    null,
    2,
  ),
);
