// SPDX-License-Identifier: Apache-2.0
/** The `input` of the Responses API: a text, or items that become the messages of a chat template. */
import type { ChatMessage } from "../../src/tokenizer/tokenizer.ts";
import { z } from "zod";
import { fields, oneOf, parse, refuse, show, text } from "./fields.ts";
import { MAX_MESSAGES, templateCall } from "./messages.ts";
import { contentShown, textOf, type TextParts, typedPart } from "./parts.ts";
import { type JsonSchema, jsonSchemaOf, requiring } from "./shown.ts";

const PARTS: TextParts = new Map([
  ["input_text", "text"],
  ["output_text", "text"],
  ["text", "text"],
  ["refusal", "refusal"],
]);

const messageSchema = fields({
  role: oneOf("system", "developer", "user", "assistant"),
  content: z.unknown().optional(),
});
const callSchema = fields({ call_id: text, name: text, arguments: text });
const outputSchema = fields({ call_id: text, output: z.unknown().optional() });

/** What {@linkcode inputMessages} reads. */
export function inputShown(): JsonSchema {
  const content = contentShown(PARTS);
  const message = requiring(jsonSchemaOf(messageSchema), { content });
  const type = (name: string) => ({ type: { const: name } });
  const items = [
    {
      ...message,
      properties: { type: { enum: ["message", null] }, ...message["properties"] as JsonSchema },
    },
    requiring(jsonSchemaOf(callSchema), type("function_call")),
    requiring(jsonSchemaOf(outputSchema), { ...type("function_call_output"), output: content }),
    requiring({ type: "object" }, type("reasoning")),
  ];
  const list = { type: "array", items: { anyOf: items }, minItems: 1, maxItems: MAX_MESSAGES };
  return { anyOf: [{ type: "string" }, list] };
}

/** The conversation. */
export function inputMessages(input: unknown): ChatMessage[] {
  if (typeof input === "string") return [{ role: "user", content: input.toWellFormed() }];
  if (!Array.isArray(input)) {
    refuse(
      ["input"],
      input == null ? "is missing" : `must be a string or an array of items, not ${show(input)}`,
    );
  }
  if (input.length > MAX_MESSAGES) refuse(["input"], `has more than ${MAX_MESSAGES} items`);
  const messages: ChatMessage[] = [];
  for (const [i, item] of input.entries()) append(messages, item, ["input", i]);
  if (messages.length === 0) refuse(["input"], "is empty: send at least one message");
  return messages;
}

function append(messages: ChatMessage[], value: unknown, path: PropertyKey[]): void {
  const item = typedPart(value, "input_text", path);
  switch (item["type"] ?? "message") {
    case "message":
      messages.push(messageOf(item, path));
      return;
    case "function_call":
      appendCall(messages, parse(callSchema, item, path));
      return;
    case "function_call_output": {
      const { call_id: id, output } = parse(outputSchema, item, path);
      const content = textOf(output, PARTS, [...path, "output"]);
      messages.push({ role: "tool", content, tool_call_id: id });
      return;
    }
    case "reasoning":
      // What a model thought before an earlier answer; templates leave it out too.
      return;
    case "item_reference":
      return refuse(path, "refers to an item, and this server keeps none: send the item itself");
    default:
      return refuse(path, `has the type ${show(item["type"])}, which this server doesn't know`);
  }
}

function messageOf(item: unknown, path: PropertyKey[]): ChatMessage {
  const { role, content } = parse(messageSchema, item, path);
  return {
    role: role === "developer" ? "system" : role,
    content: textOf(content, PARTS, [...path, "content"]),
  };
}

/** Calls belong to the assistant's message before them, and to one message together. */
function appendCall(messages: ChatMessage[], call: z.output<typeof callSchema>): void {
  const made = templateCall({
    id: call.call_id,
    function: { name: call.name, arguments: call.arguments },
  });
  const last = messages.at(-1);
  if (last?.role === "assistant") last.tool_calls = [...last.tool_calls ?? [], made];
  else messages.push({ role: "assistant", content: "", tool_calls: [made] });
}
