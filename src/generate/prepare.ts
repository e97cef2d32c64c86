// SPDX-License-Identifier: Apache-2.0
/** From a request to a job: checks it against model and memory, and resolves what it left open. */
import { type AttentionPolicy, chooseAttention, sharesBlocks } from "../engine/attention.ts";
import {
  BLOCK_TOKENS,
  type EngineLimits,
  MAX_ALTERNATIVES,
  type SamplingParams,
} from "../engine/engine.ts";
import type { Constraint } from "../constraint/constraint.ts";
import { Failure } from "../errors.ts";
import type { JobSpec } from "../scheduler/job.ts";
import { blocksOfForks } from "../scheduler/memory.ts";
import type { GenerationRequest } from "../types.ts";

/** Added to logits of tokens that must not be drawn: finite, so that no arithmetic makes NaN of it. */
const NEVER = -1e9;

/** Longest prompt and answer together that fit model and memory. */
export function contextTokens(limits: EngineLimits): number {
  return Math.min(limits.context, limits.kvBlocks * BLOCK_TOKENS);
}

function invalid(message: string, param: string): never {
  throw new Failure("invalid", message, { param });
}

function requireInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    invalid(`${name} must be a whole number from ${least} to ${most}, not ${value}.`, name);
  }
}

function checkFields(request: GenerationRequest, limits: EngineLimits): void {
  requireInteger("n", request.n, 1, limits.maxContexts);
  requireInteger("min_tokens", request.minTokens, 0, Number.MAX_SAFE_INTEGER);
  if (request.maxTokens !== null) {
    requireInteger("max_tokens", request.maxTokens, 0, Number.MAX_SAFE_INTEGER);
    if (request.minTokens > request.maxTokens) {
      invalid(
        `min_tokens (${request.minTokens}) must not exceed max_tokens (${request.maxTokens}).`,
        "min_tokens",
      );
    }
  }
  if (request.logprobs !== null) requireInteger("logprobs", request.logprobs, 0, MAX_ALTERNATIVES);
  if (request.scorePrompt !== null) {
    requireInteger("prompt_logprobs", request.scorePrompt, 0, MAX_ALTERNATIVES);
  }
  if (request.embed && request.maxTokens !== 0) {
    invalid("An embedding is of a prompt: max_tokens must be 0.", "max_tokens");
  }
  if (request.stop.includes("")) invalid("A stop string must not be empty.", "stop");
}

function checkTokens(request: GenerationRequest, { vocabulary }: EngineLimits): void {
  const unknown = (token: number) => !Number.isInteger(token) || token < 0 || token >= vocabulary;
  const sentence = (token: number) =>
    `There is no token ${token}: this model's tokens are 0 to ${vocabulary - 1}.`;
  if (request.prompt.length === 0) {
    invalid("The prompt is empty: it must have at least one token.", "prompt");
  }
  const wrong = request.prompt.find(unknown);
  if (wrong !== undefined) invalid(sentence(wrong), "prompt");
  for (const token of request.sampling.logitBias.keys()) {
    if (unknown(token)) invalid(sentence(token), "logit_bias");
  }
}

/** The most tokens of each of `n` choices for which the pool has blocks. */
function mostThatFit(
  promptTokens: number,
  n: number,
  limits: EngineLimits,
  shares: boolean,
): number {
  const shared = shares && n > 1 ? Math.floor((promptTokens - 1) / BLOCK_TOKENS) : 0;
  const own = Math.floor((limits.kvBlocks - shared) / n);
  return Math.min(limits.context, (shared + own) * BLOCK_TOKENS) - promptTokens;
}

function tooLong(request: GenerationRequest, message: string): never {
  throw new Failure("context_length", message, {
    param: request.continuesPrompt ? "prompt" : "messages",
  });
}

/** The most tokens of a choice. @throws {Failure} `context_length` when they can never fit. */
function resolveMaxTokens(
  request: GenerationRequest,
  limits: EngineLimits,
  shares: boolean,
): number {
  const { prompt: { length: prompt }, maxTokens } = request;
  const n = maxTokens === 0 ? 1 : request.n;
  const context = contextTokens(limits);
  const limit = `This model's maximum context length is ${context} tokens.`;
  const wanted = maxTokens ?? 1;
  if (prompt + wanted > context) {
    tooLong(
      request,
      maxTokens === null
        ? `${limit} However, your messages resulted in ${prompt} tokens, which leaves no room for ` +
          "a completion. Please reduce the length of the messages."
        : `${limit} However, you requested ${prompt + wanted} tokens (${prompt} in the messages, ` +
          `${wanted} in the completion). Please reduce the length of the messages or completion.`,
    );
  }
  const most = mostThatFit(prompt, n, limits, shares);
  if (wanted > most) {
    const blocks = blocksOfForks(prompt, new Array(n).fill(prompt + wanted), shares);
    tooLong(
      request,
      `${limit} However, ${n} choices of ${
        prompt + wanted
      } tokens each (${prompt} in the messages, ` +
        `${wanted} in the completion) need ${
          blocks * BLOCK_TOKENS
        } tokens of memory, and there are ` +
        `${limits.kvBlocks * BLOCK_TOKENS}. Please reduce n or the length of the completion.`,
    );
  }
  return maxTokens ?? most;
}

function withoutTokens(sampling: SamplingParams, tokens: Iterable<number>): SamplingParams {
  const logitBias = new Map(sampling.logitBias);
  for (const token of tokens) logitBias.set(token, NEVER);
  return { ...sampling, logitBias };
}

/**
 * Makes a job of a request.
 * @throws {Failure} `invalid` or `context_length`, with a sentence for the client.
 */
export function prepareJob(
  request: GenerationRequest,
  limits: EngineLimits,
  endTokens: readonly number[],
  policy: AttentionPolicy,
  constraint: Constraint | null = null,
): JobSpec {
  checkFields(request, limits);
  checkTokens(request, limits);
  const known = (token: number) => token >= 0 && token < limits.vocabulary;
  const ends = new Set([...(request.ignoreEos ? [] : endTokens), ...request.stopTokens]);
  const { sampling } = request;
  const attention = chooseAttention(
    policy,
    request.attention,
    request.prompt.length,
    sampling.seed,
  );
  return {
    prompt: request.prompt,
    n: request.n,
    constraint,
    sampling,
    openingSampling: request.minTokens === 0
      ? sampling
      : withoutTokens(sampling, [...ends].filter(known)),
    maxTokens: resolveMaxTokens(request, limits, sharesBlocks(attention)),
    minTokens: request.minTokens,
    endTokens: ends,
    alternatives: request.logprobs ?? 0,
    scoreAlternatives: request.scorePrompt,
    embed: request.embed ?? false,
    attention,
    cacheScope: request.cacheScope,
    priority: request.priority,
    timeoutMs: request.timeoutSeconds === null ? null : 1000 * request.timeoutSeconds,
    progress: request.progress ?? false,
  };
}
