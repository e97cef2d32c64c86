// SPDX-License-Identifier: Apache-2.0
/** The `usage` object. */
import type { Usage } from "../src/types.ts";

/** The sum over the prompts of a request. */
export function addUsage(a: Usage, b: Usage): Usage {
  return {
    promptTokens: a.promptTokens + b.promptTokens,
    completionTokens: a.completionTokens + b.completionTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    keysRead: a.keysRead + b.keysRead,
    keysTotal: a.keysTotal + b.keysTotal,
  };
}

/** Nothing counted yet. */
export const NO_USAGE: Usage = {
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  keysRead: 0,
  keysTotal: 0,
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
    sounder: {
      attention: "full",
      keys_read: usage.keysRead,
      keys_total: usage.keysTotal,
      cached_tokens: usage.cachedTokens,
    },
  };
}
