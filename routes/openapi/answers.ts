// SPDX-License-Identifier: Apache-2.0
/** What the routes answer. Tests hold their answers to these schemas. */
import { z } from "zod";
import { STRATEGIES } from "../../src/engine/engine.ts";

export const count = z.int().min(0);
export const tokens = z.array(count);
export const number = z.number();
export const text = z.string();
const flag = z.boolean();
const anything = z.record(z.string(), z.unknown());

/** What attention read. */
const sounderUsage = z.object({
  attention: z.enum(STRATEGIES),
  keys_read: number,
  keys_total: number,
  rows_read: number.nullable(),
  rows_total: number.nullable(),
  effective_samples: number.nullable(),
  standard_error: number.nullable(),
  verify_error: number.optional(),
  cached_tokens: count,
});

export const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count, audio_tokens: count }),
  completion_tokens_details: z.object({
    reasoning_tokens: count,
    audio_tokens: count,
    accepted_prediction_tokens: count,
    rejected_prediction_tokens: count,
  }),
  sounder: sounderUsage,
});

const logprob = z.object({ token: text, logprob: number, bytes: tokens });
export const scored = logprob.extend({ top_logprobs: z.array(logprob) });
const promptLogprobs = z.array(
  z.record(
    text,
    z.object({ logprob: number, rank: count.nullable(), decoded_token: text }),
  ).nullable(),
);

export const head = { id: text, created: count, model: text };
export const finishReason = z.enum(["stop", "length", "tool_calls", "content_filter"]);

const call = z.object({
  id: text,
  type: z.literal("function"),
  function: z.object({ name: text, arguments: text }),
});

/** What a choice of a completion says of its tokens. */
export const completionLogprobs = z.object({
  tokens: z.array(text),
  token_logprobs: z.array(number.nullable()),
  top_logprobs: z.array(z.record(text, number).nullable()),
  text_offset: tokens,
});

const chatAnswer = z.object({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(z.object({
    index: count,
    message: z.object({
      role: z.literal("assistant"),
      content: text.nullable(),
      refusal: z.null(),
      tool_calls: z.array(call).optional(),
    }),
    logprobs: z.object({ content: z.array(scored), refusal: z.null() }).nullable(),
    finish_reason: finishReason,
    stop_reason: text.nullable(),
    token_ids: tokens.optional(),
  })),
  usage,
  prompt_token_ids: tokens.optional(),
  prompt_logprobs: promptLogprobs.optional(),
});

const completionAnswer = z.object({
  ...head,
  object: z.literal("text_completion"),
  choices: z.array(z.object({
    index: count,
    text,
    logprobs: completionLogprobs.nullable(),
    finish_reason: finishReason,
    stop_reason: text.nullable(),
    prompt_token_ids: tokens.optional(),
    token_ids: tokens.optional(),
    prompt_logprobs: promptLogprobs.optional(),
  })),
  usage,
});

const embeddingsAnswer = z.object({
  object: z.literal("list"),
  data: z.array(z.object({
    object: z.literal("embedding"),
    index: count,
    embedding: z.union([z.array(number), text]),
  })),
  model: text,
  usage: z.object({ prompt_tokens: count, total_tokens: count }),
});

const responsesAnswer = z.object({
  id: text,
  object: z.literal("response"),
  created_at: count,
  completed_at: count.optional(),
  status: z.enum(["completed", "incomplete", "failed"]),
  error: z.object({ code: text, message: text }).nullable(),
  incomplete_details: z.object({ reason: text }).nullable(),
  model: text,
  output: z.array(z.object({ id: text, type: text, status: text })),
  usage: z.object({
    input_tokens: count,
    input_tokens_details: z.object({ cached_tokens: count }),
    output_tokens: count,
    output_tokens_details: z.object({ reasoning_tokens: count }),
    total_tokens: count,
    sounder: sounderUsage,
  }).nullable(),
  instructions: text.nullable(),
  max_output_tokens: count.nullable(),
  metadata: anything,
  parallel_tool_calls: flag,
  previous_response_id: z.null(),
  store: z.literal(false),
  temperature: number,
  top_p: number,
  tools: z.array(anything),
});

const messagesAnswer = z.object({
  id: text,
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: text,
  content: z.array(z.object({ type: text })),
  stop_reason: z.enum(["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
  stop_sequence: text.nullable(),
  usage: z.object({
    input_tokens: count,
    cache_creation_input_tokens: count,
    cache_read_input_tokens: count,
    output_tokens: count,
    sounder: sounderUsage,
  }),
});

const model = z.object({
  id: text,
  object: z.literal("model"),
  created: count,
  owned_by: text,
  root: text,
  parent: z.null(),
  max_model_len: count,
  context_length: count,
});

const session = z.object({
  id: text,
  object: z.literal("session"),
  tokens: count,
  bytes: count,
  saved_at: count,
  used_at: count,
  problem: text.nullable(),
});

const piece = z.object({ id: count, piece: z.union([text, tokens]) });

/** Answers by their names. */
export const ANSWERS = {
  Session: session,
  SessionList: z.object({ object: z.literal("list"), data: z.array(session) }),
  SessionDeleted: z.object({
    id: text,
    object: z.literal("session.deleted"),
    deleted: z.literal(true),
  }),
  ChatCompletion: chatAnswer,
  Completion: completionAnswer,
  Embeddings: embeddingsAnswer,
  Response: responsesAnswer,
  Message: messagesAnswer,
  TokenCount: z.object({ input_tokens: count }),
  ModelList: z.object({ object: z.literal("list"), data: z.array(model) }),
  Model: model,
  Tokens: z.object({
    count,
    max_model_len: count,
    tokens: z.union([tokens, z.array(piece)]),
    token_strs: z.array(text).nullable(),
  }),
  Text: z.object({ prompt: text, content: text }),
  TokenizerInfo: z.object({
    bos_token: text.nullable(),
    eos_token: text.nullable(),
    chat_template: text.nullable(),
    model_max_length: count,
  }),
  Health: z.object({ status: text }),
  Description: anything,
  Version: z.object({ version: text }),
  Error: z.object({
    error: z.object({
      message: text,
      type: text,
      param: text.nullable(),
      code: text.nullable(),
    }),
  }),
  AnthropicError: z.object({
    type: z.literal("error"),
    error: z.object({ type: text, message: text }),
    request_id: text,
  }),
} satisfies Record<string, z.ZodType>;

/** The name of an answer. */
export type AnswerName = keyof typeof ANSWERS;
