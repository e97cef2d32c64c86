// SPDX-License-Identifier: Apache-2.0
/** The bodies of Anthropic's `POST /v1/messages` and `/v1/messages/count_tokens`. */
import { z } from "zod";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { ChatMessage, ChatOptions } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import { fields, integer, MAX_INT32, oneOf, parse, refuse } from "./fields.ts";
import { generationShape, type Settings, settingsOf } from "./generation.ts";
import { MAX_MESSAGES } from "./messages.ts";
import { namedFormat, namedFormatOf } from "./named_format.ts";
import { partText, textOf, type TextParts, typedPart } from "./parts.ts";
import { refuseUnsupported } from "./unsupported.ts";

const { n: _, stop, stream_options: __, prompt_logprobs: ___, ...shared } = generationShape;

/** The fields of a messages request but for the conversation. */
export const messagesSchema = fields({
  ...shared,
  max_tokens: integer(1, MAX_INT32),
  stop_sequences: stop,
  output_config: fields({ format: namedFormat.optional() }).optional(),
  // As it was called before it had that place.
  output_format: namedFormat.optional(),
});

/** Blocks of system and messages. */
export const TEXT: TextParts = new Map([["text", "text"]]);

/** One message. */
export const turnSchema = fields({
  role: oneOf("user", "assistant"),
  content: z.unknown().optional(),
});
/** What a model thought before an earlier answer; templates leave it out too. */
const THOUGHTS = new Set(["thinking", "redacted_thinking"]);

/** A conversation as the chat template takes it. */
export interface Conversation {
  messages: ChatMessage[];
  template: ChatOptions;
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
    ...parseConversation(value),
    stream: body.stream ?? false,
    settings: settingsOf(generation, model, body.max_tokens),
    maxTokens: body.max_tokens,
    format: namedFormatOf(body.output_config?.format, ["output_config", "format"]) ??
      namedFormatOf(body.output_format, ["output_format"]),
  };
}

/** The conversation alone, which is what count_tokens takes. */
export function parseConversation(value: Record<string, unknown>): Conversation {
  refuseThinking(value["thinking"]);
  refuseTools(value["tools"]);
  const given = value["messages"];
  if (!Array.isArray(given) || given.length === 0) {
    refuse(["messages"], given == null ? "is missing" : "must be an array of at least one message");
  }
  if (given.length > MAX_MESSAGES) refuse(["messages"], `has more than ${MAX_MESSAGES} messages`);
  const messages = systemOf(value["system"]);
  for (const [i, message] of given.entries()) append(messages, messageOf(message, ["messages", i]));
  // An assistant's turn at the end is the beginning of the answer.
  const continues = messages.at(-1)!.role === "assistant";
  return {
    messages,
    template: { addGenerationPrompt: !continues, continueFinalMessage: continues },
  };
}

function refuseThinking(thinking: unknown): void {
  if (thinking == null || (thinking as { type?: unknown }).type === "disabled") return;
  refuse(["thinking"], 'isn\'t supported: leave it out or send {"type": "disabled"}');
}

function refuseTools(tools: unknown): void {
  if (tools == null || (Array.isArray(tools) && tools.length === 0)) return;
  refuse(["tools"], "aren't supported here in this version: leave them out");
}

function systemOf(system: unknown): ChatMessage[] {
  if (system == null) return [];
  return [{ role: "system", content: textOf(system, TEXT, ["system"]) }];
}

function messageOf(value: unknown, path: PropertyKey[]): ChatMessage {
  const { role, content } = parse(turnSchema, value, path);
  if (!Array.isArray(content)) {
    return { role, content: textOf(content, TEXT, [...path, "content"]) };
  }
  const texts = content.map((block, i) => blockText(block, [...path, "content", i]));
  return { role, content: texts.join("") };
}

function blockText(block: unknown, path: PropertyKey[]): string {
  const { type } = typedPart(block, "text", path);
  return THOUGHTS.has(type as string) ? "" : partText(block, TEXT, path);
}

/** Turns of the same role in a row are one turn. */
function append(messages: ChatMessage[], message: ChatMessage): void {
  const last = messages.at(-1);
  if (last?.role === message.role) last.content += `\n\n${message.content}`;
  else messages.push(message);
}
