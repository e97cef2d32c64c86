// SPDX-License-Identifier: Apache-2.0
/** A client that times what a server streams, and what benches make of the times. */
import { serverSentEvents } from "../tests/fixtures/server.ts";

/** One streamed completion. */
export interface Streamed {
  /** Milliseconds from sending the request to each chunk with text. */
  times: number[];
  promptTokens: number;
  tokens: number;
  cached: number;
}

interface Chunk {
  choices: { text: string }[];
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    prompt_tokens_details?: { cached_tokens?: number };
  } | null;
}

/** Streams one greedy completion. @throws with the server's answer when it is none */
export async function stream(url: string, body: Record<string, unknown>): Promise<Streamed> {
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
  const streamed: Streamed = { times: [], promptTokens: 0, tokens: 0, cached: 0 };
  let last: unknown;
  for await (last of serverSentEvents(response)) {
    if (last === "[DONE]") break;
    const { choices, usage } = last as Chunk;
    if (choices === undefined) throw new Error(JSON.stringify(last));
    if (choices.length > 0 && choices[0]!.text !== "") {
      streamed.times.push(performance.now() - started);
    }
    if (usage == null) continue;
    streamed.promptTokens = usage.prompt_tokens;
    streamed.tokens = usage.completion_tokens;
    streamed.cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  }
  if (last !== "[DONE]") throw new Error(`a stream ended with ${JSON.stringify(last)}`);
  return streamed;
}

/** The value that a share of all lies below; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

export function gaps(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - times[i]!);
}

/** Numbers from 0 up to 1, the same in every run. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Random tokens: nothing in them repeats that a cache could find. */
export function randomTokens(count: number, vocabulary: number, seed: number): number[] {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => 1 + Math.floor(random() * (vocabulary - 2)));
}
