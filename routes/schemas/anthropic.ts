// SPDX-License-Identifier: Apache-2.0
/** The bodies of Anthropic's `POST /v1/messages` and `/v1/messages/count_tokens`. */
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { CallRequest } from "../../src/tools/compile_calls.ts";
import type { ChatMessage, ChatOptions } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import { messageTools, messageToolShape } from "./anthropic_tools.ts";
import { turnMessages } from "./anthropic_turns.ts";
import { fields, integer, MAX_INT32, parse, refuse } from "./fields.ts";
import { generationShape, type Settings, settingsOf } from "./generation.ts";
import { namedFormat, namedFormatOf } from "./named_format.ts";
import { refuseUnsupported } from "./unsupported.ts";

const { n: _, stop, stream_options: __, prompt_logprobs: ___, ...shared } = generationShape;

const toolsSchema = fields(messageToolShape);

/** The fields of a messages request but for the conversation. */
export const messagesSchema = fields({
  ...shared,
  ...messageToolShape,
  max_tokens: integer(1, MAX_INT32),
  stop_sequences: stop,
  output_config: fields({ format: namedFormat.optional() }).optional(),
  // As it was called before it had that place.
  output_format: namedFormat.optional(),
});

/** A conversation as the chat template takes it. */
export interface Conversation {
  messages: ChatMessage[];
  template: ChatOptions;
  /** Tools that the answer may call; null: none. */
  calls: CallRequest | null;
}

/** A request that was understood. */
export interface MessagesBody extends Conversation {
  stream: boolean;
  settings: Settings;
  maxTokens: number;
  format: FormatRequest | null;
}

/** Reads the body; throws a 400 that names the field. */
export function parseMessagesRequest(
  value: Record<string, unknown>,
  model: ModelInfo,
): MessagesBody {
  const body = parse(messagesSchema, value);
  refuseUnsupported(value);
  const { stop_sequences: sequences, ...rest } = body;
  const generation = { ...rest, ...(sequences === undefined ? {} : { stop: sequences }) };
  return {
    ...parseConversation(value, model),
    stream: body.stream ?? false,
    settings: settingsOf(generation, model, body.max_tokens),
    maxTokens: body.max_tokens,
    format: namedFormatOf(body.output_config?.format, ["output_config", "format"]) ??
      namedFormatOf(body.output_format, ["output_format"]),
  };
}

/** The conversation alone, which is what count_tokens takes. */
export function parseConversation(
  value: Record<string, unknown>,
  model: ModelInfo,
): Conversation {
  refuseThinking(value["thinking"]);
  const { calls, shown } = messageTools(parse(toolsSchema, value), model.toolDialect);
  const messages = turnMessages(value["messages"], value["system"]);
  // An assistant's turn at the end is the beginning of the answer.
  const last = messages.at(-1)!;
  const continues = last.role === "assistant" && last.tool_calls === undefined;
  return {
    messages,
    template: {
      addGenerationPrompt: !continues,
      continueFinalMessage: continues,
      ...(shown.length === 0 ? {} : { tools: shown }),
    },
    calls,
  };
}

function refuseThinking(thinking: unknown): void {
  if (thinking == null || (thinking as { type?: unknown }).type === "disabled") return;
  refuse(["thinking"], 'isn\'t supported: leave it out or send {"type": "disabled"}');
}
