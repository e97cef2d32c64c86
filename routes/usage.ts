// SPDX-License-Identifier: Apache-2.0
/** The `usage` object. */
import { leavesToChance } from "../src/engine/attention.ts";
import { addSampled, NO_SAMPLED } from "../src/generate/sampled_usage.ts";
import type { Usage } from "../src/types.ts";

/** The sum over the prompts of a request. */
export function addUsage(a: Usage, b: Usage): Usage {
  return {
    promptTokens: a.promptTokens + b.promptTokens,
    completionTokens: a.completionTokens + b.completionTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    // Prompts of one request differ only where some of them are too short to be sampled.
    attention: a.attention === "full" ? b.attention : a.attention,
    keysRead: a.keysRead + b.keysRead,
    keysTotal: a.keysTotal + b.keysTotal,
    sampled: addSampled(a.sampled, b.sampled),
  };
}

/** Nothing counted yet. */
export const NO_USAGE: Usage = {
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  attention: "full",
  keysRead: 0,
  keysTotal: 0,
  sampled: NO_SAMPLED,
};

/** Tokens of prompt and answer, as every client reads them. */
export function tokenCounts(prompt: number, completion: number): Record<string, number> {
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
  };
}

/** The whole object: OpenAI's fields, and what attention read. */
export function usageBody(usage: Usage): Record<string, unknown> {
  return {
    ...tokenCounts(usage.promptTokens, usage.completionTokens),
    prompt_tokens_details: { cached_tokens: usage.cachedTokens, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
    sounder: sounderBody(usage),
  };
}

/** What attention read. */
export function sounderBody(usage: Usage): Record<string, unknown> {
  return {
    attention: usage.attention,
    keys_read: counted(usage.keysRead),
    keys_total: counted(usage.keysTotal),
    ...sampledBody(usage),
    cached_tokens: usage.cachedTokens,
  };
}

/** What sampling did; null where nothing was sampled, or can't be said. */
function sampledBody({ attention, sampled }: Usage): Record<string, number | null> {
  const { tokens, rowsRead, rowsTotal, inverseSamples, squaredError, verified } = sampled;
  const any = tokens > 0;
  const isKnown = any && leavesToChance(attention);
  return {
    rows_read: any ? counted(rowsRead) : null,
    rows_total: any ? counted(rowsTotal) : null,
    // The harmonic mean: variances add, not samples.
    effective_samples: inverseSamples > 0 ? rounded(tokens / inverseSamples) : null,
    standard_error: isKnown ? rounded(Math.sqrt(squaredError / tokens)) : null,
    ...(verified > 0 ? { verify_error: rounded(sampled.verifyError / verified) } : {}),
  };
}

/** Sums of means over heads and layers: more digits are noise of float32. */
function counted(keys: number): number {
  return Math.round(1000 * keys) / 1000;
}

function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
