// SPDX-License-Identifier: Apache-2.0
/** Tools in conversations of models whose chat template knows nothing of them: they stand in the messages. */
import type { ChatMessage } from "../tokenizer/tokenizer.ts";

const INTRODUCTION =
  `You can call functions. To call one, answer with nothing but a JSON object such as
{"name": "function name", "arguments": {"argument": "value"}}
on a line of its own, one line for each call. These are the functions, with the JSON schemas of their arguments:`;

/** The conversation with its tools, calls and results as text. */
export function withInstructions(
  messages: readonly ChatMessage[],
  tools: readonly unknown[],
): ChatMessage[] {
  const lines = tools.map((tool) =>
    JSON.stringify((tool as { function?: unknown }).function ?? tool)
  );
  const instructions = [INTRODUCTION, ...lines].join("\n");
  const [first, ...rest] = messages.map(asText);
  if (first?.role === "system") {
    return [{ ...first, content: `${first.content}\n\n${instructions}` }, ...rest];
  }
  return [
    { role: "system", content: instructions },
    ...(first === undefined ? [] : [first, ...rest]),
  ];
}

function asText(
  { role, content, tool_calls: calls, tool_call_id: id, name }: ChatMessage,
): ChatMessage {
  if (role === "tool") {
    return { role: "user", content: `Result of the call ${name ?? id ?? ""}:\n${content}` };
  }
  const lines = (calls ?? []).map((call) =>
    JSON.stringify((call as { function?: unknown }).function ?? call)
  );
  return {
    role,
    content: [...(content === "" ? [] : [content]), ...lines].join("\n"),
    ...(name === undefined ? {} : { name }),
  };
}
