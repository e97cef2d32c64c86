// SPDX-License-Identifier: Apache-2.0
/** The body of `POST /v1/responses`. Nothing is stored, so every request brings its whole conversation. */
import { z } from "zod";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { CallRequest } from "../../src/tools/compile_calls.ts";
import type { ChatMessage, ChatOptions } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import { fields, integer, list, MAX_INT32, oneOf, parse, refuse, text } from "./fields.ts";
import { alternatives, generationShape, type Settings, settingsOf } from "./generation.ts";
import { inputMessages } from "./response_input.ts";
import { namedFormat, namedFormatOf } from "./named_format.ts";
import { responseTools, responseToolShape } from "./response_tools.ts";
import { refuseUnsupported } from "./unsupported.ts";

const { n: _, stream_options: __, prompt_logprobs: ___, ...shared } = generationShape;

/** The fields of a responses request but for the input. */
export const responsesSchema = fields({
  ...shared,
  instructions: text.optional(),
  max_output_tokens: integer(1, MAX_INT32).optional(),
  top_logprobs: alternatives.optional(),
  include: list(text, 64, "strings").optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  ...responseToolShape,
  text: fields({ format: namedFormat.optional() }).optional(),
  truncation: oneOf("auto", "disabled").optional(),
  user: text.optional(),
});

/** What the answer repeats of the request. */
export interface ResponseEcho {
  instructions: string | null;
  max_output_tokens: number | null;
  metadata: Record<string, unknown>;
  parallel_tool_calls: boolean;
  tool_choice: unknown;
  tools: unknown[];
  text: { format: unknown };
  temperature: number;
  top_logprobs: number;
  top_p: number;
  user: string | null;
}

/** A request that was understood. */
export interface ResponsesBody {
  messages: ChatMessage[];
  template: ChatOptions;
  calls: CallRequest | null;
  stream: boolean;
  settings: Settings;
  maxTokens: number | null;
  logprobs: number | null;
  format: FormatRequest | null;
  echo: ResponseEcho;
}

/** Reads the body; throws a 400 that names the field. */
export function parseResponses(value: Record<string, unknown>, model: ModelInfo): ResponsesBody {
  const body = parse(responsesSchema, value);
  refuseUnsupported(value);
  refuseStored(value);
  const { calls, shown } = responseTools(body, model.toolDialect);
  const { instructions, top_logprobs: top = 0 } = body;
  const maxTokens = body.max_output_tokens ?? null;
  const settings = settingsOf(body, model, maxTokens);
  const wanted = top > 0 || (body.include ?? []).includes("message.output_text.logprobs");
  const system = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  return {
    messages: [...system, ...inputMessages(value["input"])],
    template: shown.length === 0 ? {} : { tools: shown },
    calls,
    stream: body.stream ?? false,
    settings,
    maxTokens,
    logprobs: wanted ? top : null,
    format: namedFormatOf(body.text?.format, ["text", "format"]),
    echo: {
      instructions: instructions ?? null,
      max_output_tokens: maxTokens,
      metadata: body.metadata ?? {},
      parallel_tool_calls: body.parallel_tool_calls ?? true,
      tool_choice: body.tool_choice ?? "auto",
      tools: body.tools ?? [],
      text: { format: body.text?.format ?? { type: "text" } },
      temperature: settings.sampling.temperature,
      top_logprobs: top,
      top_p: settings.sampling.topP,
      user: body.user ?? null,
    },
  };
}

/** Fields that only a server which keeps responses can honour. */
function refuseStored(value: Record<string, unknown>): void {
  for (const field of ["previous_response_id", "conversation", "prompt"]) {
    if (value[field] != null) {
      refuse([field], "isn't supported: this server keeps no responses; send the whole input");
    }
  }
  if (value["background"] === true) {
    refuse(["background"], "isn't supported: this server keeps no responses");
  }
}
