// SPDX-License-Identifier: Apache-2.0
/** The body of `POST /v1/responses`. Nothing is stored, so every request brings its whole conversation. */
import { z } from "zod";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { ChatMessage } from "../../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../../src/types.ts";
import {
  fields,
  flag,
  integer,
  list,
  MAX_INT32,
  oneOf,
  parse,
  refuse,
  show,
  text,
} from "./fields.ts";
import { alternatives, generationShape, type Settings, settingsOf } from "./generation.ts";
import { inputMessages } from "./response_input.ts";
import { namedFormat, namedFormatOf } from "./named_format.ts";
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
  parallel_tool_calls: flag.optional(),
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
  text: { format: unknown };
  temperature: number;
  top_logprobs: number;
  top_p: number;
  user: string | null;
}

/** A request that was understood. */
export interface ResponsesBody {
  messages: ChatMessage[];
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
  refuseConstraints(value);
  const { instructions, top_logprobs: top = 0 } = body;
  const maxTokens = body.max_output_tokens ?? null;
  const settings = settingsOf(body, model, maxTokens);
  const wanted = top > 0 || (body.include ?? []).includes("message.output_text.logprobs");
  const system = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  return {
    messages: [...system, ...inputMessages(value["input"])],
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

function refuseConstraints(value: Record<string, unknown>): void {
  const { tools, tool_choice: choice } = value;
  if (Array.isArray(tools) && tools.length > 0 && choice !== "none") {
    refuse(["tools"], 'aren\'t supported here in this version: leave them out or choose "none"');
  }
  if (choice != null && choice !== "none" && choice !== "auto") {
    refuse(["tool_choice"], `must be "none" in this version, not ${show(choice)}`);
  }
}
