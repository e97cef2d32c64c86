// SPDX-License-Identifier: Apache-2.0
/** Turns of the Messages API, which become the messages that chat templates know. */
import { z } from "zod";
import type { ChatMessage } from "../../src/tokenizer/tokenizer.ts";
import { callOf, resultOf } from "./anthropic_tools.ts";
import { fields, oneOf, parse, refuse } from "./fields.ts";
import { MAX_MESSAGES } from "./messages.ts";
import { partText, textOf, type TextParts, typedPart } from "./parts.ts";

/** Blocks of text in system and messages. */
export const TEXT: TextParts = new Map([["text", "text"]]);

/** One turn. */
export const turnSchema = fields({
  role: oneOf("user", "assistant"),
  content: z.unknown().optional(),
});

/** What a model thought before an earlier answer; templates leave it out too. */
const THOUGHTS = new Set(["thinking", "redacted_thinking"]);

/** The conversation, the system's message first. */
export function turnMessages(given: unknown, system: unknown): ChatMessage[] {
  if (!Array.isArray(given) || given.length === 0) {
    refuse(["messages"], given == null ? "is missing" : "must be an array of at least one message");
  }
  if (given.length > MAX_MESSAGES) refuse(["messages"], `has more than ${MAX_MESSAGES} messages`);
  const messages: ChatMessage[] = system == null
    ? []
    : [{ role: "system", content: textOf(system, TEXT, ["system"]) }];
  for (const [i, turn] of given.entries()) {
    for (const message of messagesOf(turn, ["messages", i])) append(messages, message);
  }
  return messages;
}

function messagesOf(value: unknown, path: PropertyKey[]): ChatMessage[] {
  const { role, content } = parse(turnSchema, value, path);
  const at = [...path, "content"];
  if (!Array.isArray(content)) return [{ role, content: textOf(content, TEXT, at) }];
  const calls: unknown[] = [];
  const results: ChatMessage[] = [];
  const texts: string[] = [];
  for (const [i, block] of content.entries()) {
    const { type } = typedPart(block, "text", [...at, i]);
    if (type === "tool_use" && role === "assistant") calls.push(callOf(block, [...at, i]));
    else if (type === "tool_result" && role === "user") {
      results.push(resultOf(block, TEXT, [...at, i]));
    } else if (!THOUGHTS.has(type as string)) texts.push(partText(block, TEXT, [...at, i]));
  }
  if (texts.length === 0 && results.length > 0) return results;
  const said = calls.length === 0 ? {} : { tool_calls: calls };
  return [...results, { role, content: texts.join(""), ...said }];
}

/** Turns of the same role in a row are one turn. */
function append(messages: ChatMessage[], message: ChatMessage): void {
  const last = messages.at(-1);
  if (last?.role !== message.role || message.role === "tool") {
    messages.push(message);
    return;
  }
  last.content = [last.content, message.content].filter((text) => text !== "").join("\n\n");
  const calls = [...last.tool_calls ?? [], ...message.tool_calls ?? []];
  if (calls.length > 0) last.tool_calls = calls;
}
