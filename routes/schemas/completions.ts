// SPDX-License-Identifier: Apache-2.0
/** The body of `POST /v1/completions`. */
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import type { ModelInfo } from "../../src/types.ts";
import { fields, flag, integer, MAX_INT32, parse, refuse } from "./fields.ts";
import {
  alternatives,
  type Delivery,
  deliveryOf,
  generationShape,
  type Settings,
  settingsOf,
} from "./generation.ts";
import { formatOf, formatShape } from "./format.ts";
import { parsePrompts, type Prompt } from "./prompt.ts";
import { refuseUnsupported } from "./unsupported.ts";

/** OpenAI's default for this route. */
export const DEFAULT_MAX_TOKENS = 16;
/** Choices of one request, over all its prompts. */
export const MAX_ALL_CHOICES = 2048;

/** The fields of a completion request but for the prompt. */
export const completionSchema = fields({
  ...generationShape,
  ...formatShape,
  max_tokens: integer(0, MAX_INT32).optional(),
  max_completion_tokens: integer(0, MAX_INT32).optional(),
  logprobs: alternatives.optional(),
  echo: flag.optional(),
  best_of: integer(0, 128).optional(),
  add_special_tokens: flag.optional(),
});

/** A completion request that was understood. */
export interface CompletionBody extends Delivery {
  prompts: Prompt[];
  addSpecial: boolean;
  echo: boolean;
  settings: Settings;
  format: FormatRequest | null;
  maxTokens: number;
  logprobs: number | null;
}

/** Reads the body; throws a 400 that names the field. */
export function parseCompletion(value: Record<string, unknown>, model: ModelInfo): CompletionBody {
  const body = parse(completionSchema, value);
  refuseUnsupported(value);
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? DEFAULT_MAX_TOKENS;
  const settings = settingsOf(body, model, maxTokens);
  const echo = body.echo ?? false;
  if (maxTokens === 0 && !echo && body.prompt_logprobs === undefined) {
    refuse(["max_tokens"], 'must be at least 1 without "echo": true or "prompt_logprobs"');
  }
  if (body.best_of !== undefined && body.best_of !== settings.n) {
    refuse(["best_of"], `must equal n (${settings.n}): Sounder returns every choice that it makes`);
  }
  const prompts = parsePrompts(value["prompt"], model);
  if (prompts.length * settings.n > MAX_ALL_CHOICES) {
    refuse(["n"], `times the number of prompts must be at most ${MAX_ALL_CHOICES}`);
  }
  return {
    ...deliveryOf(body),
    prompts,
    addSpecial: body.add_special_tokens ?? true,
    echo,
    settings,
    format: formatOf(value),
    maxTokens,
    logprobs: body.logprobs ?? null,
  };
}
