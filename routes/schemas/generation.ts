// SPDX-License-Identifier: Apache-2.0
/** The fields that chat and plain completions share, and what they mean to the scheduler. */
import { z } from "zod";
import { MAX_ALTERNATIVES, type SamplingParams } from "../../src/engine/engine.ts";
import type { GenerationRequest, ModelInfo } from "../../src/types.ts";
import type { Admission } from "../admission.ts";
import { attentionField, extensionOf } from "./attention.ts";
import {
  fields,
  flag,
  integer,
  list,
  MAX_INT32,
  number,
  refuse,
  seed,
  seedOf,
  show,
  text,
} from "./fields.ts";
import { shownAs } from "./shown.ts";

/** OpenAI allows 4; long lists only cost time at every token. */
export const MAX_STOP_STRINGS = 16;
/** Text is held back by up to this many characters. */
export const MAX_STOP_LENGTH = 1024;
/** They are handed to the engine at every token. */
export const MAX_BIASES = 4096;
/** As OpenAI. */
export const MAX_CHOICES = 128;

const stopText = shownAs(
  text.refine((value) => value !== "" && value.length <= MAX_STOP_LENGTH, {
    error: `must be a text of 1 to ${MAX_STOP_LENGTH} characters`,
  }),
  { type: "string", minLength: 1, maxLength: MAX_STOP_LENGTH },
);
const stopTexts = list(stopText, MAX_STOP_STRINGS, "strings");

/** Alternatives of a token that may be asked for. */
export const alternatives: z.ZodType<number> = integer(0, MAX_ALTERNATIVES);

/** What {@linkcode logitBiasOf} reads. */
const LOGIT_BIAS = {
  type: "object",
  propertyNames: { pattern: "^\\d{1,10}$" },
  additionalProperties: { type: "number", minimum: -100, maximum: 100 },
};

/** Shared fields; all may be absent. */
export const generationShape = {
  model: text.optional(),
  stream: flag.optional(),
  stream_options: fields({
    include_usage: flag.optional(),
    continuous_usage_stats: flag.optional(),
  }).optional(),
  n: integer(1, MAX_CHOICES).optional(),
  temperature: number(0, 2).optional(),
  top_p: number(0, 1).optional(),
  top_k: integer(-1, MAX_INT32).optional(),
  min_p: number(0, 1).optional(),
  presence_penalty: number(-2, 2).optional(),
  frequency_penalty: number(-2, 2).optional(),
  repetition_penalty: number(0.01, 10).optional(),
  seed: seed.optional(),
  stop: shownAs(
    z.preprocess((value) => typeof value === "string" ? [value] : value, stopTexts),
    z.union([stopText, stopTexts]),
  ).optional(),
  stop_token_ids: list(integer(0, MAX_INT32), 1024, "tokens").optional(),
  min_tokens: integer(0, MAX_INT32).optional(),
  ignore_eos: flag.optional(),
  skip_special_tokens: flag.optional(),
  logit_bias: shownAs(z.unknown(), LOGIT_BIAS).optional(),
  return_token_ids: flag.optional(),
  return_progress: flag.optional(),
  prompt_logprobs: alternatives.optional(),
  sounder: attentionField.optional(),
};

/** The shared fields after parsing. */
export type GenerationFields = z.output<z.ZodObject<typeof generationShape>>;

/** How the answer is delivered. */
export interface Delivery {
  stream: boolean;
  includeUsage: boolean;
  /** Running token counts in every chunk, as vLLM has it. */
  continuousUsage: boolean;
  returnTokenIds: boolean;
  /** Alternatives of each of the prompt's tokens, in vLLM's shape; null: the prompt is not scored. */
  promptLogprobs: number | null;
}

/** What the shared fields say about one prompt's generation. */
export type Settings = Omit<
  GenerationRequest,
  Admission | "maxTokens" | "logprobs" | "scorePrompt" | "continuesPrompt" | "format"
>;

/** How the answer is to be delivered. */
export function deliveryOf(body: GenerationFields): Delivery {
  const stream = body.stream ?? false;
  if (body.stream_options !== undefined && !stream) {
    refuse(["stream_options"], 'needs "stream": true');
  }
  if (body.prompt_logprobs !== undefined && stream) {
    refuse(["prompt_logprobs"], 'can\'t be streamed: leave out "stream": true');
  }
  const includeUsage = body.stream_options?.include_usage ?? false;
  return {
    stream,
    includeUsage,
    continuousUsage: includeUsage && (body.stream_options?.continuous_usage_stats ?? false),
    returnTokenIds: body.return_token_ids ?? false,
    promptLogprobs: body.prompt_logprobs ?? null,
  };
}

/** What is to be generated. `maxTokens` only for the check against `min_tokens`. */
export function settingsOf(
  body: GenerationFields,
  model: ModelInfo,
  maxTokens: number | null,
): Settings {
  const minTokens = body.min_tokens ?? 0;
  if (maxTokens !== null && minTokens > maxTokens) {
    refuse(["min_tokens"], `is ${minTokens}, more than the most tokens to generate, ${maxTokens}`);
  }
  const stopTokens = body.stop_token_ids ?? [];
  const bad = stopTokens.findIndex((token) => token >= model.vocabulary);
  if (bad >= 0) refuse(["stop_token_ids", bad], notInVocabulary(stopTokens[bad], model));
  return {
    n: body.n ?? 1,
    sampling: samplingOf(body, model),
    minTokens,
    stop: body.stop ?? [],
    stopTokens,
    ignoreEos: body.ignore_eos ?? false,
    skipSpecialTokens: body.skip_special_tokens ?? true,
    ...extensionOf(body.sounder),
    ...(body.stream && body.return_progress ? { progress: true } : {}),
  };
}

/** The rule that a token breaks that the model does not have. */
export function notInVocabulary(token: unknown, model: ModelInfo): string {
  return `must be a token from 0 to ${model.vocabulary - 1}, not ${show(token)}`;
}

function samplingOf(body: GenerationFields, model: ModelInfo): SamplingParams {
  return {
    temperature: body.temperature ?? 1,
    // vLLM's -1 and llama.cpp's 0 both say: off.
    topK: Math.max(0, body.top_k ?? 0),
    topP: body.top_p ?? 1,
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    seed: body.seed === undefined ? randomSeed() : seedOf(body.seed),
    logitBias: logitBiasOf(body.logit_bias, model),
  };
}

function randomSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]!;
}

function logitBiasOf(value: unknown, model: ModelInfo): Map<number, number> {
  const biases = new Map<number, number>();
  if (value === undefined) return biases;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(["logit_bias"], `must be an object from tokens to numbers, not ${show(value)}`);
  }
  const entries = Object.entries(value);
  if (entries.length > MAX_BIASES) {
    refuse(["logit_bias"], `has ${entries.length} entries: at most ${MAX_BIASES} are allowed`);
  }
  for (const [key, bias] of entries) {
    const token = /^\d{1,10}$/.test(key) ? Number(key) : -1;
    if (token < 0 || token >= model.vocabulary) {
      refuse(["logit_bias"], `has the key ${show(key)}: each key ${notInVocabulary(key, model)}`);
    }
    if (typeof bias !== "number" || !(Math.abs(bias) <= 100)) {
      refuse(["logit_bias", key], `must be a number from -100 to 100, not ${show(bias)}`);
    }
    biases.set(token, bias);
  }
  return biases;
}
