// SPDX-License-Identifier: Apache-2.0
// The peer as a server: llama.cpp through node-llama-cpp's prebuilt library behind the least of HTTP. As
// llama-server does, it batches its sequences at every step, and gives a prompt the idle sequence whose
// tokens begin most like it. Takes POST /v1/completions with tokens as prompt, greedy, streamed.
// Arguments: install folder, model, threads, sequences, tokens of a sequence. Prints its address.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [install, modelPath, threads, sequences, contextSize] = process.argv.slice(2);
const entry = createRequire(`${install}/package.json`).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);

const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: "error",
});
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  sequences: Number(sequences),
  contextSize: Number(contextSize),
  batchSize: 512,
  flashAttention: true,
  threads: Number(threads),
});
const idle = Array.from({ length: Number(sequences) }, () => context.getSequence());
const waiting = [];

function commonTokens(sequence, prompt) {
  const held = sequence.contextTokens;
  let common = 0;
  while (common < Math.min(held.length, prompt.length) && held[common] === prompt[common]) common++;
  return common;
}

async function take(prompt) {
  while (idle.length === 0) await new Promise((resolve) => waiting.push(resolve));
  const common = idle.map((sequence) => commonTokens(sequence, prompt));
  const best = common.indexOf(Math.max(...common));
  return { sequence: idle.splice(best, 1)[0], common: common[best] };
}

async function complete({ prompt, max_tokens: most }, response) {
  const { sequence, common } = await take(prompt);
  // The last token runs again: its logits are wanted.
  const cached = Math.min(common, prompt.length - 1);
  const send = (event) => response.write(`data: ${JSON.stringify(event)}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  try {
    await sequence.adaptStateToTokens(prompt.slice(0, cached), false);
    let tokens = 0;
    // Ends of generation are yielded, and generation goes on: ignore_eos.
    const options = { temperature: 0, yieldEogToken: true };
    for await (const token of sequence.evaluate(prompt.slice(cached), options)) {
      send({ choices: [{ index: 0, text: model.detokenize([token], true) }] });
      if (++tokens === most || response.destroyed) break;
    }
    send({
      choices: [],
      usage: {
        prompt_tokens: prompt.length,
        completion_tokens: tokens,
        prompt_tokens_details: { cached_tokens: cached },
      },
    });
    response.end("data: [DONE]\n\n");
  } finally {
    idle.push(sequence);
    waiting.shift()?.();
  }
}

const server = createServer(async (request, response) => {
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    await complete(JSON.parse(Buffer.concat(parts)), response);
  } catch (error) {
    console.error(error);
    response.destroy(error);
  }
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
// Its parent closes the pipe when it ends, however it ends.
process.stdin.resume().on("end", () => process.exit(0));
