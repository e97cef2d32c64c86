// SPDX-License-Identifier: Apache-2.0
/** Messages of a conversation: OpenAI's shapes become those that chat templates know. */
import { z } from "zod";
import type { ChatMessage } from "../../src/tokenizer/tokenizer.ts";
import { jsonExcess } from "../body.ts";
import { CHAT_PARTS, contentShown, textOf } from "./parts.ts";
import { fields, list, name, oneOf, parse, refuse, show, text } from "./fields.ts";
import { type JsonSchema, jsonSchemaOf, requiring, shownAs } from "./shown.ts";

/** Bounds the time that checking takes; a body could hold a million. */
export const MAX_MESSAGES = 65_536;

/** One message. */
export const messageSchema = fields({
  role: oneOf("system", "developer", "user", "assistant", "tool"),
  content: shownAs(z.unknown(), contentShown(CHAT_PARTS)).optional(),
  name: name.optional(),
  tool_call_id: name.optional(),
  tool_calls: list(
    fields({
      id: name.optional(),
      type: oneOf("function").optional(),
      function: fields({ name, arguments: text.optional() }),
    }),
    1024,
    "tool calls",
  ).optional(),
});

/** What {@linkcode parseMessages} reads as one message. */
export function messageShown(): JsonSchema {
  const shown = jsonSchemaOf(messageSchema);
  const content = contentShown(CHAT_PARTS);
  const said = { role: { enum: ["system", "developer", "user"] }, content };
  const tool = { role: { const: "tool" }, content, tool_call_id: { type: "string" } };
  return {
    anyOf: [
      requiring(shown, said),
      requiring(shown, { role: { const: "assistant" } }),
      requiring(shown, tool),
    ],
  };
}

type Message = z.output<typeof messageSchema>;
/** A call that an assistant made. */
export type ToolCall = NonNullable<Message["tool_calls"]>[number];

/** The conversation, one message at a time, so that the first bad one ends the work. */
export function parseMessages(value: unknown): ChatMessage[] {
  if (!Array.isArray(value)) {
    refuse(
      ["messages"],
      value == null ? "is missing" : `must be an array, not ${show(value)}`,
    );
  }
  if (value.length === 0) refuse(["messages"], "is empty: send at least one message");
  if (value.length > MAX_MESSAGES) refuse(["messages"], `has more than ${MAX_MESSAGES} messages`);
  return value.map((message, i) =>
    toChatMessage(parse(messageSchema, message, ["messages", i]), ["messages", i])
  );
}

function toChatMessage(message: Message, path: PropertyKey[]): ChatMessage {
  const { role, name, tool_call_id: callId, tool_calls: calls } = message;
  if (role === "tool" && callId === undefined) {
    refuse([...path, "tool_call_id"], "is missing: it says which call this answers");
  }
  return {
    // Templates know the older word for the same.
    role: role === "developer" ? "system" : role,
    content: contentText(message.content, role, [...path, "content"]),
    ...(name === undefined ? {} : { name }),
    ...(callId === undefined ? {} : { tool_call_id: callId }),
    ...(calls === undefined || calls.length === 0 ? {} : { tool_calls: calls.map(templateCall) }),
  };
}

function contentText(content: unknown, role: string, path: PropertyKey[]): string {
  // An assistant that only called tools said nothing.
  if (content === undefined && role === "assistant") return "";
  return textOf(content, CHAT_PARTS, path);
}

/** Templates print arguments as JSON themselves, so they want the object and not its text. */
export function templateCall(call: ToolCall): unknown {
  const { name, arguments: written = "{}" } = call.function;
  return {
    ...(call.id === undefined ? {} : { id: call.id }),
    type: "function",
    function: { name, arguments: jsonObject(written) ?? written },
  };
}

function jsonObject(written: string): unknown {
  if (jsonExcess(new TextEncoder().encode(written)) !== null) return undefined;
  try {
    const value = JSON.parse(written);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
