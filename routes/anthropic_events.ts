// SPDX-License-Identifier: Apache-2.0
/** A message in Anthropic's shape: its events in a stream, the whole of it otherwise, and errors. */
import type { AnswerPart } from "../src/tools/call_parser.ts";
import type { CallRequest } from "../src/tools/compile_calls.ts";
import type { FinishReason, Usage } from "../src/types.ts";
import { AnswerParts } from "./answer_parts.ts";
import { newCallId } from "./chat_choices.ts";
import type { ApiError } from "./errors.ts";
import type { Job } from "./job.ts";
import { sounderBody } from "./usage.ts";

/** An event of the stream. */
export type MessageEvent = { type: string } & Record<string, unknown>;

/** What is known before the first token. */
export interface MessageHead {
  id: string;
  model: string;
  promptTokens: number;
}

const STOP_REASONS: Record<FinishReason, string> = { stop: "end_turn", length: "max_tokens" };

function usageOf(usage: Usage): Record<string, unknown> {
  return {
    // Anthropic counts what came from the cache apart.
    input_tokens: usage.promptTokens - usage.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: usage.cachedTokens,
    output_tokens: usage.completionTokens,
    sounder: sounderBody(usage),
  };
}

function messageStart({ id, model, promptTokens }: MessageHead): MessageEvent {
  return {
    type: "message_start",
    message: {
      id,
      type: "message",
      role: "assistant",
      model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: {
        input_tokens: promptTokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        output_tokens: 0,
      },
    },
  };
}

/** What is written now, and how much was before. */
class Blocks {
  readonly #calls: CallRequest | null;
  #index = -1;
  #open: "text" | "tool_use" | null = null;

  constructor(calls: CallRequest | null) {
    this.#calls = calls;
  }

  *text(text: string): Generator<MessageEvent> {
    if (this.#open !== "text") yield* this.#begin({ type: "text", text: "" });
    if (text !== "") yield this.#delta({ type: "text_delta", text });
  }

  *part(part: AnswerPart): Generator<MessageEvent> {
    if (part.type === "text") yield* this.text(part.text);
    else if (part.type === "call") {
      const id = newCallId(this.#calls!);
      yield* this.#begin({ type: "tool_use", id, name: part.name, input: {} });
    } else yield this.#delta({ type: "input_json_delta", partial_json: part.text });
  }

  *end(): Generator<MessageEvent> {
    if (this.#open !== null) yield { type: "content_block_stop", index: this.#index };
  }

  *#begin(block: { type: "text" | "tool_use" } & Record<string, unknown>) {
    yield* this.end();
    this.#open = block.type;
    yield { type: "content_block_start", index: ++this.#index, content_block: block };
  }

  #delta(delta: Record<string, unknown>): MessageEvent {
    return { type: "content_block_delta", index: this.#index, delta };
  }
}

/** The events of a job of one prompt and one choice. None after a cancel. */
export async function* messageEvents(
  head: MessageHead,
  job: Job,
  calls: CallRequest | null,
): AsyncGenerator<MessageEvent> {
  const parts = new AnswerParts(calls);
  const blocks = new Blocks(calls);
  yield messageStart(head);
  // Without tools the answer is a text, which begins at once.
  if (calls === null) yield* blocks.text("");
  yield { type: "ping" };
  let ending: Record<string, unknown> = {};
  for await (const { event } of job.events()) {
    if (event.type === "text") {
      for (const part of parts.push(event.text)) yield* blocks.part(part);
    } else if (event.type === "finish") {
      for (const part of parts.finish()) yield* blocks.part(part);
      ending = endingOf(event.reason, event.stopString, parts.calls);
    } else if (event.type === "done") {
      yield* blocks.end();
      yield { type: "message_delta", delta: ending, usage: usageOf(event.usage) };
      yield { type: "message_stop" };
    }
  }
}

function endingOf(reason: FinishReason, stop: string | null, calls: number) {
  const called = calls > 0 && reason === "stop";
  return {
    stop_reason: stop !== null ? "stop_sequence" : called ? "tool_use" : STOP_REASONS[reason],
    stop_sequence: stop,
  };
}

/** The message that the events make; null when the client went away before its end. */
export async function wholeMessage(
  events: AsyncIterable<MessageEvent>,
): Promise<Record<string, unknown> | null> {
  let message: Record<string, unknown> = {};
  const content: Record<string, unknown>[] = [];
  /** Of each block: its text, or the JSON of its input. */
  const written: string[] = [];
  for await (const event of events) {
    const index = event["index"] as number;
    if (event.type === "message_start") message = event["message"] as typeof message;
    if (event.type === "content_block_start") {
      content.push(event["content_block"] as Record<string, unknown>);
      written.push("");
    }
    if (event.type === "content_block_delta") {
      const { text, partial_json: json } = event["delta"] as Record<string, string>;
      written[index]! += text ?? json ?? "";
    }
    if (event.type === "message_delta") {
      const { delta, usage } = event;
      const blocks = content.map((block, i) => wholeBlock(block, written[i]!));
      message = { ...message, content: blocks, ...delta as typeof message, usage };
    }
    if (event.type === "message_stop") return message;
  }
  return null;
}

function wholeBlock(block: Record<string, unknown>, written: string): Record<string, unknown> {
  if (block["type"] === "text") return { ...block, text: written };
  return { ...block, input: inputOf(written) };
}

/** Arguments that were cut off, or that a free answer got wrong, stay text. */
function inputOf(json: string): unknown {
  try {
    return JSON.parse(json === "" ? "{}" : json);
  } catch {
    return { arguments: json };
  }
}

const ERROR_TYPES: Record<number, string> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  500: "api_error",
  503: "overloaded_error",
};

/** An error in Anthropic's envelope. */
export function errorEvent(error: ApiError, requestId: string): MessageEvent {
  const type = ERROR_TYPES[error.status] ?? "invalid_request_error";
  return { type: "error", error: { type, message: error.message }, request_id: requestId };
}
