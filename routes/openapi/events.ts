// SPDX-License-Identifier: Apache-2.0
/** The objects in the events of streams. Tests hold streams to these schemas. */
import { z } from "zod";
import {
  completionLogprobs,
  count,
  finishReason,
  head,
  number,
  scored,
  text,
  tokens,
  usage,
} from "./answers.ts";

/** At the end with `include_usage`, running counts with `continuous_usage_stats`. */
const usages = {
  usage: usage.or(z.object({
    prompt_tokens: count,
    completion_tokens: count,
    total_tokens: count,
  })).nullable().optional(),
};

/** With `return_progress`. */
const progress = {
  prompt_progress: z.object({ total: count, cache: count, processed: count, time_ms: number })
    .optional(),
};

const ids = { prompt_token_ids: tokens.optional(), token_ids: tokens.optional() };
const reasons = {
  finish_reason: finishReason.nullable(),
  stop_reason: text.nullable().optional(),
};

/** A call's id, type and name come with its first delta, its arguments in pieces. */
const callDelta = z.object({
  index: count,
  id: text.optional(),
  type: z.literal("function").optional(),
  function: z.object({ name: text.optional(), arguments: text }),
});

/** Events by the names of their objects. */
export const EVENTS = {
  ChatCompletionChunk: z.object({
    ...head,
    object: z.literal("chat.completion.chunk"),
    choices: z.array(z.object({
      index: count,
      delta: z.object({
        role: z.literal("assistant").optional(),
        content: text.nullable().optional(),
        refusal: z.null().optional(),
        tool_calls: z.array(callDelta).optional(),
      }),
      logprobs: z.object({ content: z.array(scored), refusal: z.null() }).nullable(),
      ...reasons,
      ...ids,
    })),
    ...usages,
    ...progress,
  }),
  CompletionChunk: z.object({
    ...head,
    object: z.literal("text_completion"),
    choices: z.array(z.object({
      index: count,
      text,
      logprobs: completionLogprobs.nullable(),
      ...reasons,
      ...ids,
    })),
    ...usages,
    ...progress,
  }),
  ResponseEvent: z.object({
    type: text.meta({ description: "response.created, response.output_text.delta, …, or error" }),
    sequence_number: count,
  }).loose(),
  MessageEvent: z.object({
    type: z.enum([
      "message_start",
      "message_delta",
      "message_stop",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "ping",
      "error",
    ]),
  }).loose(),
} satisfies Record<string, z.ZodType>;

/** The name of an event's object. */
export type EventName = keyof typeof EVENTS;
