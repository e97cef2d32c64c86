// SPDX-License-Identifier: Apache-2.0
/** A message in Anthropic's shape: its events in a stream, the whole of it otherwise, and errors. */
import type { FinishReason, Usage } from "../src/types.ts";
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

/** The events of a job of one prompt and one choice. None after a cancel. */
export async function* messageEvents(head: MessageHead, job: Job): AsyncGenerator<MessageEvent> {
  yield messageStart(head);
  yield { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
  yield { type: "ping" };
  let ending: Record<string, unknown> = {};
  for await (const { event } of job.events()) {
    if (event.type === "text" && event.text !== "") {
      const delta = { type: "text_delta", text: event.text };
      yield { type: "content_block_delta", index: 0, delta };
    } else if (event.type === "finish") {
      const { reason, stopString } = event;
      ending = {
        stop_reason: stopString === null ? STOP_REASONS[reason] : "stop_sequence",
        stop_sequence: stopString,
      };
    } else if (event.type === "done") {
      yield { type: "content_block_stop", index: 0 };
      yield { type: "message_delta", delta: ending, usage: usageOf(event.usage) };
      yield { type: "message_stop" };
    }
  }
}

/** The message that the events make; null when the client went away before its end. */
export async function wholeMessage(
  events: AsyncIterable<MessageEvent>,
): Promise<Record<string, unknown> | null> {
  let message: Record<string, unknown> = {};
  let text = "";
  for await (const event of events) {
    if (event.type === "message_start") message = event["message"] as typeof message;
    if (event.type === "content_block_delta") text += (event["delta"] as { text: string }).text;
    if (event.type === "message_delta") {
      const content = [{ type: "text", text }];
      const { delta, usage } = event;
      message = { ...message, content, ...delta as typeof message, usage };
    }
    if (event.type === "message_stop") return message;
  }
  return null;
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
