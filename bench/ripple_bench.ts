// SPDX-License-Identifier: Apache-2.0
/**
 * What users of a server feel of each other: the time between two tokens of a short chat while a neighbour's
 * long prompt runs, and the time to the first token of a question about a document that was asked about before.
 *
 *   deno task bench:ripple [--model PATH] [--step-ms 50] [--tokens 30000] [--document 7000]
 */
import { parseArgs } from "node:util";
import { TestServer } from "../tests/fixtures/server.ts";

const { values } = parseArgs({
  options: {
    "model": { type: "string" },
    "step-ms": { type: "string", default: "50" },
    "tokens": { type: "string", default: "30000" },
    "document": { type: "string", default: "7000" },
    "memory": { type: "string", default: "3GiB" },
  },
});

/** Times of the chunks with text, in milliseconds after the request was sent, and what was cached. */
async function stream(url: string, body: Record<string, unknown>) {
  const started = performance.now();
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify({
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
      ...body,
    }),
  });
  if (!response.ok) throw new Error(await response.text());
  const times: number[] = [];
  let cached = 0;
  let text = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith("data: {")) continue;
      const { choices, usage } = JSON.parse(line.slice(6));
      if (choices.length > 0 && choices[0].text !== "") times.push(performance.now() - started);
      if (usage != null) cached = usage.prompt_tokens_details.cached_tokens;
    }
  }
  return { times, cached };
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - times[i]!);
}

function show(name: string, values: readonly number[]): void {
  const [p50, p99] = [percentile(values, 0.5), percentile(values, 0.99)];
  const most = Math.max(...values);
  console.log(
    `${name.padEnd(44)} ${p50.toFixed(1).padStart(7)} ${p99.toFixed(1).padStart(7)} ` +
      `${most.toFixed(1).padStart(7)} ms   (${values.length})`,
  );
}

/** Random words: nothing in them repeats that a cache could find. */
function prompt(tokens: number, vocabulary: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: tokens }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + Math.floor(state / 2 ** 32 * (vocabulary - 2));
  });
}

await using server = new TestServer([
  "--memory",
  values.memory,
  "--step-ms",
  values["step-ms"],
  ...(values.model === undefined ? [] : ["--model", values.model]),
]);
const url = await server.ready();
const vocabulary = 250;
const ignore_eos = true;
// Words, so that the answer is words: half a character waits for its other half.
const chat = (number: number, max_tokens: number) =>
  stream(url, { prompt: `Story ${number}: Once there was a lamp by`, max_tokens, ignore_eos });

await chat(1, 50);
console.log(`${"".padEnd(44)}     p50     p99    most`);
show("between tokens of a chat, alone", gaps((await chat(2, 300)).times));

const long = Number(values.tokens);
let running = true;
const started = performance.now();
const neighbour = stream(url, {
  prompt: prompt(long, vocabulary, 3),
  max_tokens: 1,
  ignore_eos,
}).then(() => running = false);
await new Promise((done) => setTimeout(done, 200));
const felt: number[] = [];
for (let seed = 4; running; seed++) felt.push(...gaps((await chat(seed, 100)).times));
await neighbour;
show(`between tokens, beside ${long} tokens of prompt`, felt);
const seconds = (performance.now() - started) / 1000;
console.log(`  the neighbour's prompt took ${seconds.toFixed(1)} s in all`);

const document = prompt(Number(values.document), vocabulary, 5);
const ask = async (question: number) => {
  const asked = { prompt: [...document, ...prompt(20, vocabulary, question)], max_tokens: 4 };
  const { times, cached } = await stream(url, { ...asked, ignore_eos });
  return { first: times[0]!, cached };
};
const cold = await ask(100);
const warm = [];
for (let question = 101; question < 111; question++) warm.push(await ask(question));
const again = await ask(110);
console.log(`first token, document of ${document.length} tokens: ${cold.first.toFixed(0)} ms`);
console.log(`  another question: ${percentile(warm.map(({ first }) => first), 0.5).toFixed(0)} ms`);
console.log(`  the same again: ${again.first.toFixed(0)} ms (${again.cached} tokens cached)`);
