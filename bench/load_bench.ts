// SPDX-License-Identifier: Apache-2.0
/**
 * Many clients against one server of recall, and what must hold: each request ends well or with a proper
 * error, nothing leaks, memory stays within the plan, /health and a chat stay quick. Fails when one does not.
 * Contexts: the server has 256, fewer than requests that leave in ten minutes; leaked ones would end it.
 *
 *   deno task bench:load [--seconds 600] [--clients 64] [--longest 30000] [--memory 3GiB] [--step-ms 50]
 */
import { parseArgs } from "node:util";
import { formatBytes, parseSize } from "../src/model/memory.ts";
import { TestServer } from "../tests/fixtures/server.ts";
import { chatBesidePrompt } from "./beside_prompt.ts";
import { percentile } from "./completions.ts";
import { runLoad } from "./load.ts";

const { values } = parseArgs({
  options: {
    "seconds": { type: "string", default: "600" },
    "clients": { type: "string", default: "64" },
    "longest": { type: "string", default: "30000" },
    "memory": { type: "string", default: "3GiB" },
    "step-ms": { type: "string", default: "50" },
  },
});

let missed = 0;
function judge(good: boolean, text: string): void {
  if (!good) missed++;
  console.log(`${good ? "good  " : "MISSED"}  ${text}`);
}

await using server = new TestServer([
  "--quiet",
  "--memory",
  values.memory,
  "--step-ms",
  values["step-ms"],
]);
const url = await server.ready();
const longest = Number(values.longest);
const load = await runLoad(url, {
  seconds: Number(values.seconds),
  clients: Number(values.clients),
  longest,
});
console.log(
  `${values.clients} clients for ${values.seconds} s, prompts of 10 to ${longest} tokens: ` +
    `${load.finished} finished (${load.promptTokens} tokens of prompt), ${load.left} left, ` +
    `${load.busy} were told to come again, ${load.garbage} sent garbage\n`,
);
for (const problem of [...load.wrong, ...load.problems].slice(0, 20)) console.log(problem);
const wrong = load.wrong.length + load.problems.length;
judge(wrong === 0 && load.finished > 0, `${wrong} requests ended in neither success nor an error`);

const { running, waiting, kv_blocks, kv_blocks_free, kv_blocks_cached } = load.rest;
judge(running + waiting === 0, `${running} requests running, ${waiting} waiting afterwards`);
judge(
  kv_blocks_free === kv_blocks,
  `${kv_blocks - kv_blocks_free} of ${kv_blocks} KV blocks held by nobody's request ` +
    `(the prefix cache has ${kv_blocks_cached})`,
);

const plan = parseSize(values.memory)!;
const share = load.mostResidentBytes / plan;
judge(
  share <= 1.05,
  `memory of the process at most ${formatBytes(load.mostResidentBytes)}, ` +
    `${(100 * share).toFixed(1)} % of the plan (105 %)`,
);
const health = percentile(load.healthMs, 0.99);
judge(
  health < 50,
  `/health p50 ${percentile(load.healthMs, 0.5).toFixed(1)} ms, p99 ${health.toFixed(1)} ms ` +
    `of ${load.healthMs.length} (50 ms)`,
);

const { alone, beside } = await chatBesidePrompt(url, longest);
const [felt, most] = [percentile(beside, 0.99), 3 * Number(values["step-ms"])];
judge(
  felt <= most,
  `between tokens of a chat p99 ${percentile(alone, 0.99).toFixed(1)} ms alone, ` +
    `${felt.toFixed(1)} ms beside ${longest} tokens of prompt (${most} ms)`,
);
if (missed > 0) Deno.exitCode = 1;
