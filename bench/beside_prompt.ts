// SPDX-License-Identifier: Apache-2.0
/** A short chat that streams while a neighbour's long prompt runs. */
import { gaps, randomTokens, stream } from "./completions.ts";

/** Ids below it are in every model's vocabulary. */
export const VOCABULARY = 250;

/** What the chat felt. */
export interface Beside {
  /** Milliseconds between two tokens with nobody else there, and beside the prompt. */
  alone: number[];
  beside: number[];
  /** Seconds that the neighbour's prompt took. */
  promptSeconds: number;
}

/** Streams chats alone, and then for as long as a prompt of so many tokens runs. */
export async function chatBesidePrompt(url: string, promptTokens: number): Promise<Beside> {
  const ignore_eos = true;
  // Words, so that the answer is words: half a character waits for its other half.
  const chat = (number: number, max_tokens: number) =>
    stream(url, { prompt: `Story ${number}: Once there was a lamp by`, max_tokens, ignore_eos });
  await chat(1, 50);
  const alone = gaps((await chat(2, 300)).times);
  let running = true;
  const started = performance.now();
  const prompt = randomTokens(promptTokens, VOCABULARY, 3);
  const neighbour = stream(url, { prompt, max_tokens: 1, ignore_eos }).finally(() =>
    running = false
  );
  await new Promise((done) => setTimeout(done, 200));
  const beside: number[] = [];
  for (let seed = 4; running; seed++) beside.push(...gaps((await chat(seed, 100)).times));
  await neighbour;
  return { alone, beside, promptSeconds: (performance.now() - started) / 1000 };
}
