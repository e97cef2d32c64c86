// SPDX-License-Identifier: Apache-2.0
/** Tools of the Responses API, which are flat where those of chat completions are nested. */
import { z } from "zod";
import type { DialectName } from "../../src/tools/dialect.ts";
import { fields, flag, list, oneOf, parse, refuse, show, text } from "./fields.ts";
import { shownAs } from "./shown.ts";
import { type ToolsBody, toolsOf } from "./tools.ts";

const toolSchema = fields({
  type: oneOf("function"),
  name: text,
  description: text.optional(),
  parameters: z.unknown().optional(),
  strict: flag.optional(),
});
type Tool = z.output<typeof toolSchema>;

const named = z.object({ type: z.literal("function"), name: z.string() });
const choiceShown = z.union([
  z.enum(["none", "auto", "required"]),
  named,
  z.object({
    type: z.literal("allowed_tools"),
    mode: z.enum(["auto", "required"]),
    tools: z.array(named),
  }),
]);

/** The fields. */
export const responseToolShape = {
  tools: list(toolSchema, 1024, "tools").optional(),
  tool_choice: shownAs(z.unknown(), choiceShown).optional(),
  parallel_tool_calls: flag.optional(),
};

const namedSchema = fields({ type: oneOf("function"), name: text });
const allowedSchema = fields({
  mode: oneOf("auto", "required"),
  tools: list(namedSchema, 1024, "tools"),
});

function nested({ type, ...rest }: Tool | z.output<typeof namedSchema>): unknown {
  return { type, function: rest };
}

function nestedChoice(choice: unknown): unknown {
  if (choice === undefined || typeof choice === "string") return choice;
  const path = ["tool_choice"];
  const type = (choice as { type?: unknown } | null)?.type;
  if (type === "function") return nested(parse(namedSchema, choice, path));
  if (type === "allowed_tools") {
    const { mode, tools } = parse(allowedSchema, choice, path);
    return { type, allowed_tools: { mode, tools: tools.map(nested) } };
  }
  return refuse(
    path,
    `must be "none", "auto", "required" or {"type": "function", "name": ...}, not ${show(choice)}`,
  );
}

/** What a request says of tools. */
export function responseTools(
  body: z.output<z.ZodObject<typeof responseToolShape>>,
  dialect: DialectName,
): ToolsBody {
  return toolsOf({
    tools: body.tools?.map(nested),
    tool_choice: nestedChoice(body.tool_choice),
    parallel_tool_calls: body.parallel_tool_calls,
  }, dialect);
}
