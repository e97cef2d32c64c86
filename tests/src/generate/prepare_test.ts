// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { EXACT_POLICY } from "../../../src/engine/attention.ts";
import { type EngineLimits, GREEDY } from "../../../src/engine/engine.ts";
import { prepareJob } from "../../../src/generate.ts";
import type { GenerationRequest } from "../../../src/types.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { END } from "../../fixtures/fake_text.ts";
import { failureOf, promptOf, request } from "../../fixtures/requests.ts";

function preparer(limits: Partial<EngineLimits> = {}) {
  const engine = new FakeEngine(limits);
  return (fields: Partial<GenerationRequest>) =>
    prepareJob(request(fields), engine.limits, [END], EXACT_POLICY);
}

Deno.test("too long requests are refused with the numbers", () => {
  const prepare = preparer({ context: 500 });
  const failure = failureOf(() => prepare({ prompt: promptOf(480), maxTokens: 40 }));
  assertEquals(failure.kind, "context_length");
  assertEquals(
    failure.message,
    "This model's maximum context length is 500 tokens. However, you requested 520 tokens (480 in " +
      "the messages, 40 in the completion). Please reduce the length of the messages or completion.",
  );
  const full = failureOf(() => prepare({ prompt: promptOf(500), maxTokens: null }));
  assertEquals(full.kind, "context_length");
  assert(full.message.includes("your messages resulted in 500 tokens"));
});

Deno.test("choices that together never fit into memory are refused with the numbers", () => {
  const prepare = preparer({ kvBlocks: 8 });
  const failure = failureOf(() => prepare({ prompt: promptOf(300), n: 4, maxTokens: 300 }));
  assertEquals(failure.kind, "context_length");
  assert(failure.message.includes("4 choices of 600 tokens each"));
  assert(failure.message.includes("need 1792 tokens of memory, and there are 1024"));
});

Deno.test("impossible requests are refused with the field that is wrong", () => {
  const prepare = preparer();
  const cases: [Partial<GenerationRequest>, string, string][] = [
    [{ prompt: new Int32Array(0) }, "prompt", "empty"],
    [{ prompt: Int32Array.of(1, 300) }, "prompt", "no token 300"],
    [{ prompt: Int32Array.of(-1) }, "prompt", "no token -1"],
    [{ n: 0 }, "n", "from 1 to 16"],
    [{ n: 17 }, "n", "from 1 to 16"],
    [{ maxTokens: -1 }, "max_tokens", "not -1"],
    [{ maxTokens: 1.5 }, "max_tokens", "whole"],
    [{ minTokens: 9, maxTokens: 8 }, "min_tokens", "must not exceed"],
    [{ stop: ["a", ""] }, "stop", "empty"],
    [{ logprobs: 21 }, "logprobs", "from 0 to 20"],
    [{ sampling: { ...GREEDY, logitBias: new Map([[999, 1]]) } }, "logit_bias", "no token 999"],
  ];
  for (const [fields, param, words] of cases) {
    const failure = failureOf(() => prepare(fields));
    assertEquals([failure.kind, failure.param], ["invalid", param]);
    assert(failure.message.includes(words), failure.message);
  }
});

Deno.test("an embedding is of a prompt alone", () => {
  const prepare = preparer();
  assertEquals(prepare({ embed: true, maxTokens: 0 }).embed, true);
  const failure = failureOf(() => prepare({ embed: true, maxTokens: 1 }));
  assertEquals([failure.kind, failure.param], ["invalid", "max_tokens"]);
});
