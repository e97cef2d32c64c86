// SPDX-License-Identifier: Apache-2.0
/** `tools`, `tool_choice` and `parallel_tool_calls`: what the answer may call, and what the template shows. */
import { z } from "zod";
import type { CallRequest } from "../../src/tools/compile_calls.ts";
import type { DialectName } from "../../src/tools/dialect.ts";
import { fields, flag, list, oneOf, parse, refuse, show, text } from "./fields.ts";
import { shownAs } from "./shown.ts";

const MAX_TOOLS = 1024;
/** OpenAI allows 64 letters, digits, _ and -; servers of tools are freer. */
const NAME = /^[\w.:/-]{1,256}$/;

const toolName = text.refine((name) => NAME.test(name), {
  error: "must be a name of up to 256 letters, digits, _, -, ., : and /",
});

const toolSchema = fields({
  type: oneOf("function"),
  function: fields({
    name: toolName,
    description: text.optional(),
    parameters: z.unknown().optional(),
    strict: flag.optional(),
  }),
});

const namedSchema = fields({ type: oneOf("function"), function: fields({ name: text }) });
const allowedSchema = fields({
  mode: oneOf("auto", "required"),
  tools: list(namedSchema, MAX_TOOLS, "tools"),
});
const choiceSchema = z.union([
  z.enum(["none", "auto", "required"]),
  z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
  z.object({ type: z.literal("allowed_tools") }),
]);

/** The fields in the API's description. */
export const toolShape = {
  tools: list(toolSchema, MAX_TOOLS, "tools").optional(),
  tool_choice: shownAs(z.unknown(), choiceSchema).optional(),
  parallel_tool_calls: flag.optional(),
};

const schema = fields(toolShape);
type Body = z.output<typeof schema>;
type GivenTool = NonNullable<Body["tools"]>[number];

/** What a request says of tools. */
export interface ToolsBody {
  /** null: nothing is to be called. */
  calls: CallRequest | null;
  /** Tools as chat templates know them. */
  shown: unknown[];
}

/** Reads the fields; throws a 400 that names the one that is wrong. */
export function toolsOf(value: Record<string, unknown>, dialect: DialectName): ToolsBody {
  const body = parse(schema, value);
  refuseFunctions(value);
  const given = body.tools ?? [];
  requireDistinct(given);
  const { names, required, one } = choiceOf(body.tool_choice, given);
  if (names.size === 0) return { calls: null, shown: [] };
  const tools = given.filter((tool) => names.has(tool.function.name));
  return {
    calls: {
      dialect,
      tools: tools.map(({ function: { name, description, parameters, strict } }) => ({
        name,
        description: description ?? null,
        parameters,
        strict: strict ?? false,
      })),
      required,
      several: !one && (body.parallel_tool_calls ?? true),
    },
    shown: given.map(templateTool),
  };
}

function templateTool({ type, function: { strict: _, ...rest } }: GivenTool): unknown {
  return { type, function: rest };
}

function requireDistinct(tools: readonly GivenTool[]): void {
  const seen = new Set<string>();
  tools.forEach(({ function: { name } }, i) => {
    if (seen.has(name)) refuse(["tools", i, "function", "name"], `is there twice: ${show(name)}`);
    seen.add(name);
  });
}

interface ToolChoice {
  names: ReadonlySet<string>;
  required: boolean;
  /** Just one call. */
  one: boolean;
}

function choiceOf(choice: unknown, given: readonly GivenTool[]): ToolChoice {
  const all = new Set(given.map((tool) => tool.function.name));
  const path = ["tool_choice"];
  if (choice === undefined || choice === "auto") return { names: all, required: false, one: false };
  if (choice === "none") return { names: new Set(), required: false, one: false };
  if (choice === "required") {
    if (all.size === 0) refuse(path, 'is "required", but there are no tools');
    return { names: all, required: true, one: false };
  }
  const known = (name: string) => {
    if (!all.has(name)) refuse(path, `names the function ${show(name)}, which isn't in tools`);
    return name;
  };
  const type = typeof choice === "object" && choice !== null
    ? (choice as { type?: unknown }).type
    : undefined;
  if (type === "function") {
    const { function: { name } } = parse(namedSchema, choice, path);
    return { names: new Set([known(name)]), required: true, one: true };
  }
  if (type === "allowed_tools") {
    const inner = (choice as { allowed_tools?: unknown }).allowed_tools ?? choice;
    const { mode, tools } = parse(allowedSchema, inner, path);
    const names = new Set(tools.map((tool) => known(tool.function.name)));
    return { names, required: mode === "required", one: false };
  }
  return refuse(
    path,
    `must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}, not ${
      show(choice)
    }`,
  );
}

/** OpenAI's older fields, which its clients don't send any more. */
function refuseFunctions({ functions, function_call: call }: Record<string, unknown>): void {
  if (
    functions != null && !(Array.isArray(functions) && functions.length === 0) && call !== "none"
  ) {
    refuse(["functions"], "aren't supported: send tools, which took their place");
  }
}
