// SPDX-License-Identifier: Apache-2.0
/** Traffic of many clients at once: prompts of all lengths, some leave, some send garbage. */
import { serverSentEvents } from "../tests/fixtures/server.ts";
import { randomNumbers, randomTokens } from "./completions.ts";
import { GARBAGE } from "./load_garbage.ts";
import { startWatching, type Watched } from "./load_watch.ts";

export interface LoadOptions {
  seconds: number;
  clients: number;
  /** Tokens of the longest prompt; the shortest has 10. */
  longest: number;
}

/** How requests ended. */
export interface Counts {
  finished: number;
  left: number;
  /** Refused with 429. */
  busy: number;
  garbage: number;
  promptTokens: number;
  wrong: string[];
}

/** What /health says of KV blocks and requests. */
export interface Rest {
  running: number;
  waiting: number;
  kv_blocks: number;
  kv_blocks_free: number;
  kv_blocks_cached: number;
}

export interface LoadReport extends Counts, Watched {
  rest: Rest;
}

const SHORTEST = 10, VOCABULARY = 4000;
/** A request that takes longer is stuck. */
const STUCK_MS = 300_000;
const LEAVERS = 1 / 3, GARBAGE_SHARE = 1 / 8, STREAMS = 2 / 3, SHARED = 1 / 4;

type Random = () => number;

/** From `least` to `most`, each order of magnitude as often as the next. */
function logUniform(random: Random, least: number, most: number): number {
  return least * (most / least) ** random();
}

/** Whether an error says what is the matter, in OpenAI's form. */
async function isProperError(response: Response): Promise<boolean> {
  const body = await response.json().catch(() => null);
  return typeof body?.error?.message === "string" && body.error.message !== "" &&
    typeof body.error.type === "string";
}

async function sendGarbage(url: string, random: Random, counts: Counts): Promise<void> {
  const { path, body, status } = GARBAGE[Math.floor(random() * GARBAGE.length)]!;
  const response = await fetch(url + path, {
    method: "POST",
    body,
    signal: AbortSignal.timeout(STUCK_MS),
  });
  counts.garbage++;
  if (response.status === 200 && status === 200) return void await response.body?.cancel();
  const expected = response.status === status || (status === 200 && response.status === 429);
  if (await isProperError(response) && expected) return;
  counts.wrong.push(`${response.status} instead of ${status} for ${body.slice(0, 60)}`);
}

function completionBody(random: Random, longest: number): { body: string; tokens: number } {
  const tokens = Math.round(logUniform(random, SHORTEST, longest));
  // Some begin alike: a question about one of a few documents.
  const seed = random() < SHARED ? Math.floor(4 * random()) : Math.floor(2 ** 32 * random());
  const body = JSON.stringify({
    prompt: randomTokens(tokens, VOCABULARY, seed),
    max_tokens: Math.round(logUniform(random, 1, 64)),
    ignore_eos: true,
    stream: random() < STREAMS,
  });
  return { body, tokens };
}

/** What is wrong with a whole answer; null: nothing. */
async function readAnswer(response: Response): Promise<string | null> {
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
    let last: unknown;
    for await (const event of serverSentEvents(response)) last = event;
    return last === "[DONE]" ? null : `a stream ended with ${JSON.stringify(last)}`;
  }
  const answer = await response.json();
  if (answer.choices?.[0]?.finish_reason === "length") return null;
  return `no choice: ${JSON.stringify(answer).slice(0, 200)}`;
}

async function ask(url: string, random: Random, longest: number, counts: Counts): Promise<void> {
  const { body, tokens } = completionBody(random, longest);
  const leaves = random() < LEAVERS;
  const patience = leaves ? logUniform(random, 1, 20_000) : STUCK_MS;
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      body,
      signal: AbortSignal.timeout(patience),
    });
    if (response.status === 429) {
      const seconds = Number(response.headers.get("retry-after"));
      if (!await isProperError(response) || !(seconds > 0)) {
        counts.wrong.push("429 that says little");
      }
      counts.busy++;
      return void await new Promise((done) => setTimeout(done, 1000 * random()));
    }
    const problem = response.ok ? await readAnswer(response) : await response.text();
    if (problem !== null) return void counts.wrong.push(problem);
    counts.finished++;
    counts.promptTokens += tokens;
  } catch (error) {
    if (leaves && (error as Error).name === "TimeoutError") counts.left++;
    else counts.wrong.push(`${tokens} tokens: ${error}`);
  }
}

async function client(url: string, seed: number, options: LoadOptions, end: number, all: Counts) {
  const random = randomNumbers(seed);
  while (performance.now() < end) {
    if (random() < GARBAGE_SHARE) {
      await sendGarbage(url, random, all).catch((error) => all.wrong.push(String(error)));
    } else await ask(url, random, options.longest, all);
  }
}

/** Waits five seconds for what still runs: that a client without `stream` left is noticed after 1.5. */
async function atRest(url: string): Promise<Rest> {
  for (let tries = 0;; tries++) {
    const rest: Rest = await (await fetch(`${url}/health`)).json();
    const idle = rest.running + rest.waiting === 0 && rest.kv_blocks === rest.kv_blocks_free;
    if (idle || tries === 50) return rest;
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Loads a server (of recall) for a while; ends when every request has ended. */
export async function runLoad(url: string, options: LoadOptions): Promise<LoadReport> {
  const counts: Counts = {
    finished: 0,
    left: 0,
    busy: 0,
    garbage: 0,
    promptTokens: 0,
    wrong: [],
  };
  const stopWatching = await startWatching(url);
  const end = performance.now() + 1000 * options.seconds;
  await Promise.all(
    Array.from(
      { length: options.clients },
      (_, i) => client(url, 1 + i, options, end, counts),
    ),
  );
  return { ...counts, ...await stopWatching(), rest: await atRest(url) };
}
