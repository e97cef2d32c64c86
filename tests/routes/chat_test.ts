// SPDX-License-Identifier: Apache-2.0
import { EXACT_POLICY, SERVER_ATTENTION } from "../../src/engine/attention.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { done, FakeService, finish, speak, text, tokenInfo } from "../fixtures/fake_service.ts";
import { appOver, EXACT_USAGE, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

Deno.test("a whole chat answer has OpenAI's keys in OpenAI's shape", async () => {
  const answer = await ok(
    await post(appOver(new FakeService()), CHAT, { model: "fake/model", messages }),
  );
  assertMatch(answer.id, /^chatcmpl-[0-9a-f]{32}$/);
  assert(Math.abs(answer.created - Date.now() / 1000) < 10);
  delete answer.id;
  delete answer.created;
  assertEquals(answer, {
    object: "chat.completion",
    model: "fake/model",
    choices: [{
      index: 0,
      message: { role: "assistant", content: "Hello, world", refusal: null },
      logprobs: null,
      finish_reason: "stop",
      stop_reason: null,
    }],
    usage: {
      prompt_tokens: 9,
      completion_tokens: 3,
      total_tokens: 12,
      prompt_tokens_details: { cached_tokens: 1, audio_tokens: 0 },
      completion_tokens_details: {
        reasoning_tokens: 0,
        audio_tokens: 0,
        accepted_prediction_tokens: 0,
        rejected_prediction_tokens: 0,
      },
      sounder: EXACT_USAGE,
    },
  });
});

Deno.test("absent and null fields mean OpenAI's defaults", async () => {
  for (const extra of [{}, { temperature: null, stop: null, n: null, seed: null, stream: null }]) {
    const service = new FakeService();
    await ok(await post(appOver(service), CHAT, { messages, ...extra, unheard_of: { of: 1 } }));
    const { id, prompt, sampling, ...rest } = service.requests[0]!;
    assertMatch(id, /^chatcmpl-/);
    assertEquals(prompt.length, 9);
    assertEquals(rest, {
      cacheScope: "",
      priority: "normal",
      timeoutSeconds: null,
      session: null,
      n: 1,
      maxTokens: null,
      minTokens: 0,
      stop: [],
      stopTokens: [],
      ignoreEos: false,
      skipSpecialTokens: true,
      continuesPrompt: false,
      logprobs: null,
      scorePrompt: null,
      attention: SERVER_ATTENTION,
      format: null,
      calls: null,
    });
    assertEquals({ ...sampling, seed: 0n }, {
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      seed: 0n,
      logitBias: new Map(),
    });
  }
});

Deno.test("every sampling field reaches the scheduler", async () => {
  const service = new FakeService();
  service.policy = { ...EXACT_POLICY, index: { ...NO_INDEX, sketchBits: 1 } };
  await ok(
    await post(appOver(service), CHAT, {
      messages,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      presence_penalty: -1,
      frequency_penalty: 1.5,
      repetition_penalty: 1.1,
      seed: -1,
      n: 3,
      stop: "END",
      stop_token_ids: [7, 259],
      min_tokens: 2,
      max_tokens: 5,
      max_completion_tokens: 6,
      ignore_eos: true,
      skip_special_tokens: false,
      logprobs: true,
      top_logprobs: 20,
      logit_bias: { "3": -100, "259": 100 },
      sounder: {
        attention: "sketch",
        budget: 0.01,
        beta: 2.5,
        seed: -3,
        collisions: 3,
        draws: 500,
        session: "talk-1",
      },
    }, { headers: { "x-sounder-priority": "high", "x-sounder-timeout": "2.5" } }),
  );
  const { id: _, prompt: __, ...rest } = service.requests[0]!;
  assertEquals(rest, {
    cacheScope: "",
    priority: "high",
    timeoutSeconds: 2.5,
    session: "talk-1",
    n: 3,
    maxTokens: 6,
    minTokens: 2,
    stop: ["END"],
    stopTokens: [7, 259],
    ignoreEos: true,
    skipSpecialTokens: false,
    continuesPrompt: false,
    logprobs: 20,
    scorePrompt: null,
    attention: {
      strategy: "sketch",
      budget: 0.01,
      beta: 2.5,
      seed: 2n ** 64n - 3n,
      collisions: 3,
      draws: 500,
    },
    format: null,
    calls: null,
    sampling: {
      temperature: 0.5,
      topK: 40,
      topP: 0.9,
      minP: 0.05,
      repetitionPenalty: 1.1,
      presencePenalty: -1,
      frequencyPenalty: 1.5,
      seed: 0xffff_ffff_ffff_ffffn,
      logitBias: new Map([[3, -100], [259, 100]]),
    },
  });
});

Deno.test("without a seed each request draws its own", async () => {
  const service = new FakeService();
  const app = appOver(service);
  for (let i = 0; i < 2; i++) await ok(await post(app, CHAT, { messages }));
  const [first, second] = service.requests.map(({ sampling }) => sampling.seed);
  assertNotEquals(first, second);
});

Deno.test("messages become what templates know", async () => {
  const service = new FakeService();
  await ok(
    await post(appOver(service), CHAT, {
      messages: [
        { role: "developer", content: "be brief" },
        {
          role: "user",
          content: [{ type: "text", text: "a" }, { type: "text", text: "b" }],
          name: "u",
        },
        {
          role: "assistant",
          content: null,
          tool_calls: [
            { id: "c1", type: "function", function: { name: "f", arguments: '{"x":1}' } },
            { id: "c2", type: "function", function: { name: "g", arguments: "not json" } },
          ],
        },
        { role: "tool", content: "42", tool_call_id: "c1" },
        { role: "user", content: "half a pair: \ud800", name: null },
      ],
      add_generation_prompt: false,
      continue_final_message: true,
      chat_template_kwargs: { enable_thinking: false },
    }),
  );
  assertEquals(service.chats, [{
    messages: [
      { role: "system", content: "be brief" },
      { role: "user", content: "ab", name: "u" },
      {
        role: "assistant",
        content: "",
        tool_calls: [
          { id: "c1", type: "function", function: { name: "f", arguments: { x: 1 } } },
          { id: "c2", type: "function", function: { name: "g", arguments: "not json" } },
        ],
      },
      { role: "tool", content: "42", tool_call_id: "c1" },
      { role: "user", content: "half a pair: \ufffd" },
    ],
    options: {
      addGenerationPrompt: false,
      continueFinalMessage: true,
      extra: { enable_thinking: false },
    },
  }]);
});

Deno.test("continue_final_message alone implies no generation prompt", async () => {
  const service = new FakeService();
  await ok(await post(appOver(service), CHAT, { messages, continue_final_message: true }));
  assertEquals(service.chats[0]!.options?.addGenerationPrompt, false);
});

Deno.test("chat log-probabilities: bytes, alternatives, and -9999 for what can't be", async () => {
  const service = new FakeService(function* () {
    yield text(0, "é", [tokenInfo(5, "é", -Infinity, 3)]);
    yield finish(0, "length");
    yield done();
  });
  const answer = await ok(
    await post(appOver(service), CHAT, { messages, logprobs: true, top_logprobs: 2 }),
  );
  const [choice] = answer.choices;
  assertEquals(choice.finish_reason, "length");
  assertEquals(choice.logprobs, {
    content: [{
      token: "é",
      logprob: -9999,
      bytes: [0xc3, 0xa9],
      top_logprobs: [
        { token: "é", logprob: -9999, bytes: [0xc3, 0xa9] },
        { token: "a", logprob: -9999, bytes: [97] },
      ],
    }],
    refusal: null,
  });
});

Deno.test("return_token_ids returns both sides without log-probabilities", async () => {
  const service = new FakeService(speak(["a", "b"]));
  const answer = await ok(await post(appOver(service), CHAT, { messages, return_token_ids: true }));
  assertEquals(answer.prompt_token_ids.length, 9);
  assertEquals(answer.choices[0].token_ids, [0, 1]);
  assertEquals(answer.choices[0].logprobs, null);
});

Deno.test("the stop string that ended a choice is told", async () => {
  const service = new FakeService(() => [text(0, "x"), finish(0, "stop", "END"), done()]);
  const answer = await ok(await post(appOver(service), CHAT, { messages, stop: ["END"] }));
  assertEquals(answer.choices[0].stop_reason, "END");
});

Deno.test("an unknown priority or time limit is refused, and what is allowed is said", async () => {
  const refusal = async (headers: Record<string, string>) => {
    const response = await post(appOver(new FakeService()), CHAT, { messages }, { headers });
    return (await failed(response, 400)).message;
  };
  assertMatch(await refusal({ "x-sounder-priority": "urgent" }), /low, normal, high/);
  for (const seconds of ["0", "0.5", "-1", "1e9", "0x10", "soon", ""]) {
    assertMatch(await refusal({ "x-sounder-timeout": seconds }), /seconds from 1/);
  }
});
