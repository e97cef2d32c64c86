// SPDX-License-Identifier: Apache-2.0
/**
 * What users of a server feel of each other: the time between two tokens of a short chat while a neighbour's
 * long prompt runs, and the time to the first token of a question about a document that was asked about before.
 *
 *   deno task bench:ripple [--model PATH] [--step-ms 50] [--tokens 30000] [--document 7000]
 */
import { parseArgs } from "node:util";
import { TestServer } from "../tests/fixtures/server.ts";
import { chatBesidePrompt, VOCABULARY } from "./beside_prompt.ts";
import { percentile, randomTokens, stream } from "./completions.ts";

const { values } = parseArgs({
  options: {
    "model": { type: "string" },
    "step-ms": { type: "string", default: "50" },
    "tokens": { type: "string", default: "30000" },
    "document": { type: "string", default: "7000" },
    "memory": { type: "string", default: "3GiB" },
  },
});

function show(name: string, values: readonly number[]): void {
  const [p50, p99] = [percentile(values, 0.5), percentile(values, 0.99)];
  const most = Math.max(...values);
  console.log(
    `${name.padEnd(44)} ${p50.toFixed(1).padStart(7)} ${p99.toFixed(1).padStart(7)} ` +
      `${most.toFixed(1).padStart(7)} ms   (${values.length})`,
  );
}

await using server = new TestServer([
  "--memory",
  values.memory,
  "--step-ms",
  values["step-ms"],
  ...(values.model === undefined ? [] : ["--model", values.model]),
]);
const url = await server.ready();

const { alone, beside, promptSeconds } = await chatBesidePrompt(url, Number(values.tokens));
console.log(`${"".padEnd(44)}     p50     p99    most`);
show("between tokens of a chat, alone", alone);
show(`between tokens, beside ${values.tokens} tokens of prompt`, beside);
console.log(`  the neighbour's prompt took ${promptSeconds.toFixed(1)} s in all`);

const document = randomTokens(Number(values.document), VOCABULARY, 5);
const ask = async (question: number) => {
  const prompt = [...document, ...randomTokens(20, VOCABULARY, question)];
  const { times, cached } = await stream(url, { prompt, max_tokens: 4, ignore_eos: true });
  return { first: times[0]!, cached };
};
const cold = await ask(100);
const warm = [];
for (let question = 101; question < 111; question++) warm.push(await ask(question));
const again = await ask(110);
console.log(`first token, document of ${document.length} tokens: ${cold.first.toFixed(0)} ms`);
console.log(`  another question: ${percentile(warm.map(({ first }) => first), 0.5).toFixed(0)} ms`);
console.log(`  the same again: ${again.first.toFixed(0)} ms (${again.cached} tokens cached)`);
