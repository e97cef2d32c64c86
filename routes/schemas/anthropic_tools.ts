// SPDX-License-Identifier: Apache-2.0
/** Tools of the Messages API, and their calls and results in a conversation. */
import { z } from "zod";
import type { DialectName } from "../../src/tools/dialect.ts";
import type { ChatMessage } from "../../src/tokenizer/tokenizer.ts";
import { fields, flag, list, oneOf, parse, text } from "./fields.ts";
import { templateCall } from "./messages.ts";
import { contentShown, textOf, type TextParts } from "./parts.ts";
import { type JsonSchema, jsonSchemaOf, requiring } from "./shown.ts";
import { type ToolsBody, toolsOf } from "./tools.ts";

const toolSchema = fields({
  type: oneOf("custom").optional(),
  name: text,
  description: text.optional(),
  input_schema: z.unknown().optional(),
  strict: flag.optional(),
});

const choiceSchema = fields({
  type: oneOf("auto", "any", "tool", "none"),
  name: text.optional(),
  disable_parallel_tool_use: flag.optional(),
});

/** The fields. */
export const messageToolShape = {
  tools: list(toolSchema, 1024, "tools").optional(),
  tool_choice: choiceSchema.optional(),
};

type Shape = z.output<z.ZodObject<typeof messageToolShape>>;

function chatChoice(choice: Shape["tool_choice"]): unknown {
  switch (choice?.type) {
    case "any":
      return "required";
    case "tool":
      return { type: "function", function: { name: choice.name } };
    default:
      return choice?.type;
  }
}

/** What a request says of tools. */
export function messageTools(
  { tools, tool_choice: choice }: Shape,
  dialect: DialectName,
): ToolsBody {
  return toolsOf({
    tools: tools?.map(({ name, description, input_schema: parameters, strict }) => ({
      type: "function",
      function: { name, description, parameters, strict },
    })),
    tool_choice: chatChoice(choice),
    parallel_tool_calls: choice?.disable_parallel_tool_use ? false : undefined,
  }, dialect);
}

const useSchema = fields({ id: text, name: text, input: z.unknown().optional() });
const resultSchema = fields({ tool_use_id: text, content: z.unknown().optional() });

/** Blocks of calls and results, as {@linkcode callOf} and {@linkcode resultOf} read them. */
export function toolBlocksShown(texts: TextParts): JsonSchema[] {
  const type = (name: string) => ({ type: { const: name } });
  return [
    requiring(jsonSchemaOf(useSchema), type("tool_use")),
    requiring(jsonSchemaOf(resultSchema), { ...type("tool_result"), content: contentShown(texts) }),
  ];
}

/** A block that calls a tool, as the template's call. */
export function callOf(block: unknown, path: PropertyKey[]): unknown {
  const { id, name, input } = parse(useSchema, block, path);
  return templateCall({ id, function: { name, arguments: JSON.stringify(input ?? {}) } });
}

/** A block with a tool's result, as the template's message. */
export function resultOf(block: unknown, texts: TextParts, path: PropertyKey[]): ChatMessage {
  const { tool_use_id: id, content } = parse(resultSchema, block, path);
  const said = content === undefined ? "" : textOf(content, texts, [...path, "content"]);
  return { role: "tool", content: said, tool_call_id: id };
}
