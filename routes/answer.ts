// SPDX-License-Identifier: Apache-2.0
/** From a job to events or to all of it: what chat and plain completions have in common. */
import type { FinishReason, GenerationEvent, TokenInfo, Usage } from "../src/types.ts";
import type { Context, Deps } from "./context.ts";
import { type ApiError, toApiError } from "./errors.ts";
import type { Job } from "./job.ts";
import type { Delivery } from "./schemas/generation.ts";
import { DONE, eventStream, frame, PING, SSE_HEADERS } from "./sse.ts";
import { addUsage, NO_USAGE, tokenCounts, usageBody } from "./usage.ts";

/** The fields that every chunk and every whole answer starts with. */
export interface Head {
  id: string;
  object: string;
  created: number;
  model: string;
}

/** One element of `choices`. */
export type Choice = Record<string, unknown>;

/** Turns events into choices of a stream. Indexes count over all prompts. */
export interface ChunkWriter {
  /** Goes out before any event: for each index at most one choice. */
  opening(index: number): Choice | null;
  /** The scored prompt, once for each of its choices. */
  prompt(index: number, tokens: readonly TokenInfo[]): Choice | null;
  text(index: number, text: string, tokens: readonly TokenInfo[]): Choice[];
  finish(index: number, reason: FinishReason, stop: string | null): Choice[];
}

/** A request that was admitted. */
export interface Admitted {
  job: Job;
  /** Choices of each prompt. */
  n: number;
  prompts: readonly Int32Array[];
  head: Head;
  delivery: Delivery;
}

/** The streamed answer: status and headers go out now. */
export function streamAnswer(
  c: Context,
  deps: Deps,
  admitted: Admitted,
  writer: ChunkWriter,
): Response {
  const frames = chunks(admitted, writer, deps.options.pingSeconds > 0);
  return streamFrames(c, deps, admitted.job, frames, (error) => frame(error.body));
}

/**
 * An event stream out of frames. After the headers an error can only be an event: `describe` makes it, and
 * the stream ends with it.
 */
export function streamFrames(
  c: Context,
  { options }: Deps,
  job: Job,
  frames: AsyncIterable<string>,
  describe: (error: ApiError) => string,
): Response {
  const guarded = async function* (): AsyncGenerator<string> {
    try {
      yield* frames;
    } catch (error) {
      const known = toApiError(error, c.get("requestId"), options.log);
      if (!job.cancelled) yield describe(known);
    }
  };
  const body = eventStream(guarded(), {
    pingMs: options.pingSeconds * 1000,
    cancel: () => job.cancel(),
  });
  return c.body(body, 200, { ...SSE_HEADERS });
}

async function* chunks(
  { job, n, prompts, head, delivery }: Admitted,
  writer: ChunkWriter,
  comments: boolean,
): AsyncGenerator<string> {
  const counter = new UsageCounter(prompts);
  const chunk = (choices: Choice[]) =>
    frame({
      ...head,
      choices,
      ...(delivery.continuousUsage
        ? { usage: counter.running() }
        : delivery.includeUsage
        ? { usage: null }
        : {}),
    });
  if (comments) yield PING;
  for (let index = 0; index < prompts.length * n; index++) {
    const opening = writer.opening(index);
    if (opening !== null) yield chunk([opening]);
  }
  for await (const { prompt, event } of job.events()) {
    if (event.type === "done") counter.done(event.usage);
    else if (event.type === "text") counter.generated(event.tokens.length);
    else if (event.type === "progress") yield frame({ ...head, choices: [], ...progressOf(event) });
    for (const choice of choicesOf(event, prompt * n, n, writer)) yield chunk([choice]);
  }
  if (job.cancelled) return;
  if (delivery.includeUsage) yield frame({ ...head, choices: [], usage: counter.final() });
  yield DONE;
}

/** As llama.cpp's server says it. */
function progressOf(event: GenerationEvent & { type: "progress" }): Record<string, unknown> {
  const { total, cached, processed, ms } = event;
  return { prompt_progress: { total, cache: cached, processed, time_ms: Math.round(ms) } };
}

/** What an event of the prompt whose choices start at index `first` says to the client. */
function choicesOf(
  event: GenerationEvent,
  first: number,
  n: number,
  writer: ChunkWriter,
): Choice[] {
  switch (event.type) {
    case "prompt": {
      const echoes = Array.from({ length: n }, (_, i) => writer.prompt(first + i, event.tokens));
      return echoes.filter((echo) => echo !== null);
    }
    case "text":
      return writer.text(first + event.choice, event.text, event.tokens);
    case "finish":
      return writer.finish(first + event.choice, event.reason, event.stopString);
    case "progress":
    case "done":
      return [];
  }
}

/** One choice of a whole answer. */
export interface Collected {
  text: string;
  tokens: TokenInfo[];
  reason: FinishReason | null;
  stopString: string | null;
}

/** What became of a job: choices over all prompts, scored prompts by prompt. */
export interface Collection {
  choices: Collected[];
  scored: (TokenInfo[] | null)[];
  usage: Record<string, unknown>;
}

/** Waits for everything; null when the client went away. */
export async function collect({ job, n, prompts }: Admitted): Promise<Collection | null> {
  const counter = new UsageCounter(prompts);
  const choices = Array.from({ length: prompts.length * n }, (): Collected => {
    return { text: "", tokens: [], reason: null, stopString: null };
  });
  const scored: Collection["scored"] = prompts.map(() => null);
  for await (const { prompt, event } of job.events()) {
    if (event.type === "done") {
      counter.done(event.usage);
    } else if (event.type === "progress") {
      continue;
    } else if (event.type === "prompt") {
      scored[prompt] = event.tokens;
    } else {
      const choice = choices[prompt * n + event.choice]!;
      if (event.type === "text") {
        choice.text += event.text;
        for (const token of event.tokens) choice.tokens.push(token);
      } else {
        choice.reason = event.reason;
        choice.stopString = event.stopString;
      }
    }
  }
  return job.cancelled ? null : { choices, scored, usage: counter.final() };
}

class UsageCounter {
  readonly #promptTokens: number;
  #generated = 0;
  #usage: Usage = NO_USAGE;

  constructor(prompts: readonly Int32Array[]) {
    this.#promptTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  }

  generated(tokens: number): void {
    this.#generated += tokens;
  }

  done(usage: Usage): void {
    this.#usage = addUsage(this.#usage, usage);
  }

  running(): Record<string, unknown> {
    return tokenCounts(this.#promptTokens, this.#generated);
  }

  final(): Record<string, unknown> {
    return usageBody(this.#usage);
  }
}
