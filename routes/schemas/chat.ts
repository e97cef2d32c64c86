// SPDX-License-Identifier: Apache-2.0
/** The body of `POST /v1/chat/completions`. */
import { z } from "zod";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { CallRequest } from "../../src/tools/compile_calls.ts";
import type { ChatMessage, ChatOptions } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import { fields, flag, integer, MAX_INT32, parse, refuse } from "./fields.ts";
import {
  alternatives,
  type Delivery,
  deliveryOf,
  generationShape,
  type Settings,
  settingsOf,
} from "./generation.ts";
import { formatOf, formatShape } from "./format.ts";
import { parseMessages } from "./messages.ts";
import { toolShape, toolsOf } from "./tools.ts";
import { refuseUnsupported } from "./unsupported.ts";

/** How messages become a prompt. */
export const promptShape = {
  add_generation_prompt: flag.optional(),
  continue_final_message: flag.optional(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).optional(),
};

/** The fields of a chat request but for the conversation. */
export const chatSchema = fields({
  ...generationShape,
  ...promptShape,
  ...toolShape,
  ...formatShape,
  max_tokens: integer(1, MAX_INT32).optional(),
  max_completion_tokens: integer(1, MAX_INT32).optional(),
  logprobs: flag.optional(),
  top_logprobs: alternatives.optional(),
});

/** A chat request that was understood. */
export interface ChatBody extends Delivery {
  messages: ChatMessage[];
  template: ChatOptions;
  settings: Settings;
  format: FormatRequest | null;
  calls: CallRequest | null;
  maxTokens: number | null;
  logprobs: number | null;
}

/** Reads the body; throws a 400 that names the field. */
export function parseChat(value: Record<string, unknown>, model: ModelInfo): ChatBody {
  const body = parse(chatSchema, value);
  refuseUnsupported(value);
  if ((body.top_logprobs ?? 0) > 0 && !body.logprobs) {
    refuse(["top_logprobs"], 'needs "logprobs": true');
  }
  const { calls, shown } = toolsOf(value, model.toolDialect);
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? null;
  return {
    ...deliveryOf(body),
    messages: parseMessages(value["messages"]),
    template: { ...templateOf(value), ...(shown.length === 0 ? {} : { tools: shown }) },
    settings: settingsOf(body, model, maxTokens),
    format: formatOf(value),
    calls,
    maxTokens,
    logprobs: body.logprobs ? body.top_logprobs ?? 0 : null,
  };
}

const templateSchema = fields(promptShape);

/** How messages become a prompt; `/tokenize` asks too. */
export function templateOf(value: Record<string, unknown>): ChatOptions {
  const body = parse(templateSchema, value);
  const continueFinalMessage = body.continue_final_message ?? false;
  const addGenerationPrompt = body.add_generation_prompt ?? !continueFinalMessage;
  if (addGenerationPrompt && continueFinalMessage) {
    refuse(["continue_final_message"], "and add_generation_prompt can't both be true");
  }
  const extra = body.chat_template_kwargs;
  return {
    addGenerationPrompt,
    continueFinalMessage,
    ...(extra === undefined ? {} : { extra }),
  };
}
