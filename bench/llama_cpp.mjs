// SPDX-License-Identifier: Apache-2.0
// The peer: llama.cpp through node-llama-cpp's prebuilt library, run by Node from the folder that
// llama_cpp.ts installs it into. Prints one JSON line a figure: {kind, tokens, flashAttention, perSecond}.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [install, modelPath, threads, ...lengths] = process.argv.slice(2);
const entry = createRequire(`${install}/package.json`).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);
const DECODED = 16;

const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: "error",
});
const model = await llama.loadModel({ modelPath });

async function measure(length, flashAttention) {
  const context = await model.createContext({
    contextSize: length + DECODED + 16,
    batchSize: 512,
    flashAttention,
    threads: Number(threads),
  });
  const sequence = context.getSequence();
  const prompt = Array.from({ length }, (_, i) => 100 + (i * 7919) % 40000);
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt);
  report("prefill", length, flashAttention, length, start);
  let decoded = 0;
  for await (const _ of sequence.evaluate([500], { temperature: 0 })) {
    if (++decoded === 1) start = performance.now();
    if (decoded > DECODED) break;
  }
  report("decode", length, flashAttention, decoded - 1, start);
  await context.dispose();
}

function report(kind, tokens, flashAttention, count, start) {
  const perSecond = (1000 * count) / (performance.now() - start);
  console.log(JSON.stringify({ kind, tokens, flashAttention, perSecond }));
}

for (const length of lengths) {
  for (const flashAttention of [true, false]) await measure(Number(length), flashAttention);
}
process.exit(0);
