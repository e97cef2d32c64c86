// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";
const user = { role: "user", content: "hi" };

/** Fields, the parameter that the error names, and a part of its sentence. */
type Case = [fields: Record<string, unknown>, param: string | null, part: string];

async function refuses(path: string, base: Record<string, unknown>, cases: Case[]): Promise<void> {
  const service = new FakeService();
  const app = appOver(service);
  for (const [fields, param, part] of cases) {
    const error = await failed(await post(app, path, { ...base, ...fields }), 400);
    assertEquals(error.param, param, JSON.stringify(fields));
    assertStringIncludes(error.message, part);
    if (param !== null) assert(error.message.startsWith(param), error.message);
    assertEquals(error.type, "invalid_request_error");
  }
  assertEquals(service.requests, []);
}

Deno.test("fields that both routes share are checked", async () => {
  const cases: Case[] = [
    [{ temperature: "hot" }, "temperature", 'a number from 0 to 2, not "hot"'],
    [{ temperature: -0.1 }, "temperature", "not -0.1"],
    [{ temperature: 2.01 }, "temperature", "not 2.01"],
    [{ temperature: [1] }, "temperature", "not an array"],
    [{ top_p: 1.5 }, "top_p", "from 0 to 1"],
    [{ top_k: 1.5 }, "top_k", "whole number"],
    [{ top_k: -2 }, "top_k", "-1"],
    [{ min_p: -1 }, "min_p", "from 0 to 1"],
    [{ presence_penalty: 3 }, "presence_penalty", "from -2 to 2"],
    [{ frequency_penalty: -3 }, "frequency_penalty", "from -2 to 2"],
    [{ repetition_penalty: 0 }, "repetition_penalty", "not 0"],
    [{ seed: 0.5 }, "seed", "whole number"],
    [{ seed: 1e30 }, "seed", "whole number of 64 bits"],
    [{ n: 0 }, "n", "from 1 to 128"],
    [{ n: 129 }, "n", "from 1 to 128"],
    [{ n: true }, "n", "not true"],
    [{ stop: 3 }, "stop", "up to 16 strings"],
    [{ stop: Array(17).fill("x") }, "stop", "up to 16 strings, not an array of 17"],
    [{ stop: ["ok", ""] }, "stop[1]", "1 to 1024 characters"],
    [{ stop: ["x".repeat(1025)] }, "stop[0]", "1 to 1024 characters"],
    [{ stop_token_ids: [260] }, "stop_token_ids[0]", "from 0 to 259"],
    [{ stop_token_ids: [-1] }, "stop_token_ids[0]", "not -1"],
    [{ max_tokens: -1 }, "max_tokens", "not -1"],
    [{ max_tokens: 1e12 }, "max_tokens", "2147483647"],
    [{ max_tokens: 4, min_tokens: 5 }, "min_tokens", "more than"],
    [{ stream: "yes" }, "stream", "true or false"],
    [{ stream_options: {} }, "stream_options", '"stream": true'],
    [
      { stream: true, stream_options: { include_usage: 1 } },
      "stream_options.include_usage",
      "true or false",
    ],
    [{ stream: true, stream_options: 7 }, "stream_options", "an object"],
    [{ logit_bias: [] }, "logit_bias", "an object from tokens"],
    [{ logit_bias: { "260": 1 } }, "logit_bias", '"260"'],
    [{ logit_bias: { "x": 1 } }, "logit_bias", '"x"'],
    [{ logit_bias: { "-1": 1 } }, "logit_bias", '"-1"'],
    [{ logit_bias: { "5": 101 } }, "logit_bias.5", "-100 to 100"],
    [{ logit_bias: { "5": "1" } }, "logit_bias.5", "-100 to 100"],
    [{ model: 5 }, "model", "a string"],
    [{ sounder: 1 }, "sounder", "an object"],
    [{ sounder: { attention: "best" } }, "sounder.attention", 'one of "auto", "full", "sketch"'],
    [{ sounder: { attention: "sketch" } }, "sounder.attention", "--index sketch"],
    [{ sounder: { budget: 0 } }, "sounder.budget", "a number over 0 and up to 1, not 0"],
    [{ sounder: { budget: 1.1 } }, "sounder.budget", "not 1.1"],
    [{ sounder: { beta: 4.5 } }, "sounder.beta", "over 0 and up to 4"],
    [{ sounder: { seed: "1" } }, "sounder.seed", "whole number"],
    [{ sounder: { collisions: 4 } }, "sounder.collisions", "from 1 to 3"],
    [{ sounder: { draws: -1 } }, "sounder.draws", "from 0 to 65536"],
    [{ sounder: { sharpness: 0.02 } }, "sounder", 'has the key "sharpness"'],
    [{ sounder: { sharpness: null } }, "sounder", '"attention", "budget"'],
    [{ web_search_options: {} }, "web_search_options", "no web"],
    [{ include_stop_str_in_output: true }, "include_stop_str_in_output", "stop_reason"],
    [{ truncate_prompt_tokens: 5 }, "truncate_prompt_tokens", "never cuts"],
  ];
  await refuses(CHAT, { messages: [user] }, cases);
  await refuses(COMPLETIONS, { prompt: "hi" }, cases);
});

Deno.test("chat's own fields are checked", async () => {
  const call = { type: "function", function: { name: "f", arguments: "{}" } };
  await refuses(CHAT, { messages: [user] }, [
    [{ messages: undefined }, "messages", "is missing"],
    [{ messages: null }, "messages", "is missing"],
    [{ messages: "hi" }, "messages", "an array"],
    [{ messages: [] }, "messages", "is empty"],
    [{ messages: [user, 3] }, "messages[1]", "an object"],
    [{ messages: [{ content: "x" }] }, "messages[0].role", "is missing"],
    [{ messages: [{ role: "king", content: "x" }] }, "messages[0].role", '"king"'],
    [{ messages: [{ role: "user" }] }, "messages[0].content", "not null"],
    [{ messages: [{ role: "user", content: null }] }, "messages[0].content", "not null"],
    [
      { messages: [{ role: "user", content: { text: "x" } }] },
      "messages[0].content",
      "not an object",
    ],
    [
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] },
      "messages[0].content[0]",
      "reads only text",
    ],
    [
      { messages: [{ role: "user", content: [{ type: "text", text: 5 }] }] },
      "messages[0].content[0].text",
      "not 5",
    ],
    [{ messages: [{ role: "user", content: ["x"] }] }, "messages[0].content[0]", '"type": "text"'],
    [{ messages: [{ role: "tool", content: "x" }] }, "messages[0].tool_call_id", "which call"],
    [
      { messages: [{ role: "assistant", tool_calls: [{ ...call, function: {} }] }] },
      "messages[0].tool_calls[0].function.name",
      "is missing",
    ],
    [{ tool_choice: "required" }, "tool_choice", '"required"'],
    [{ functions: [{ name: "f" }] }, "functions", "aren't supported"],
    [{ logprobs: 5 }, "logprobs", "true or false"],
    [{ top_logprobs: 5 }, "top_logprobs", '"logprobs": true'],
    [{ logprobs: true, top_logprobs: 21 }, "top_logprobs", "0 to 20"],
    [{ max_tokens: 0 }, "max_tokens", "from 1"],
    [{ max_completion_tokens: 0 }, "max_completion_tokens", "from 1"],
    [{ chat_template_kwargs: 1 }, "chat_template_kwargs", ""],
    [
      { add_generation_prompt: true, continue_final_message: true },
      "continue_final_message",
      "both be true",
    ],
    [{ modalities: ["text", "audio"] }, "modalities", "answers are text"],
  ]);
});

Deno.test("a completion's own fields are checked", async () => {
  await refuses(COMPLETIONS, { prompt: "hi" }, [
    [{ prompt: undefined }, "prompt", "is missing"],
    [{ prompt: null }, "prompt", "is missing"],
    [{ prompt: 5 }, "prompt", "not 5"],
    [{ prompt: [] }, "prompt", "not an empty array"],
    [{ prompt: [[]] }, "prompt[0]", "is empty"],
    [{ prompt: [1, "a"] }, "prompt[1]", 'not "a"'],
    [{ prompt: [1, 260] }, "prompt[1]", "from 0 to 259, not 260"],
    [{ prompt: [[1], [2, -1]] }, "prompt[1][1]", "not -1"],
    [{ prompt: [1.5] }, "prompt[0]", "not 1.5"],
    [{ prompt: ["a", true] }, "prompt[1]", "not true"],
    [{ prompt: Array(2049).fill("a") }, "prompt", "2048"],
    [{ prompt: Array(100).fill("a"), n: 100 }, "n", "2048"],
    [{ logprobs: true }, "logprobs", "from 0 to 20"],
    [{ logprobs: 21 }, "logprobs", "not 21"],
    [{ suffix: "end" }, "suffix", "isn't supported"],
    [{ echo: 1 }, "echo", "true or false"],
  ]);
});

Deno.test("what asks for nothing is accepted", async () => {
  const app = appOver(new FakeService(), { modelAliases: ["gpt-4o"] });
  const harmless = [
    { response_format: { type: "text" }, tools: [], tool_choice: "none", logit_bias: {} },
    { tools: [{ type: "function", function: { name: "f" } }], tool_choice: "none" },
    { tool_choice: "auto", parallel_tool_calls: false, user: "u", metadata: {}, store: false },
    { modalities: ["text"], stop: [], stop_token_ids: [], top_k: -1, reasoning_effort: "low" },
    { functions: [{ name: "f" }], function_call: "none", top_logprobs: 0 },
    { model: "gpt-4o", sounder: {}, service_tier: "auto", prediction: null },
    { sounder: { attention: "auto", budget: 1, beta: 4, seed: null, collisions: 1, draws: 0 } },
    { model: "", sounder: { attention: "full" }, guided_json: null, seed: 2 ** 63 },
    { model: null, stream_options: null, tools: null, tool_choice: null },
  ];
  for (const fields of harmless) await ok(await post(app, CHAT, { messages: [user], ...fields }));
});

Deno.test("what OpenAI's clients send besides is accepted by every route", async () => {
  const app = appOver(new FakeService());
  const besides = {
    user: "u",
    metadata: { a: "b" },
    store: true,
    service_tier: "flex",
    prompt_cache_key: "k",
    safety_identifier: "s",
    verbosity: "low",
    reasoning_effort: "low",
    stream: false,
  };
  const bodies: [path: string, body: Record<string, unknown>][] = [
    [CHAT, { messages: [user], prediction: { type: "content", content: "x" } }],
    [COMPLETIONS, { prompt: "hi" }],
    ["/v1/embeddings", { input: "hi" }],
    ["/v1/responses", {
      input: "hi",
      reasoning: { effort: "low" },
      include: ["reasoning.encrypted_content"],
    }],
    ["/v1/messages", { messages: [user], max_tokens: 5, cache_control: { type: "ephemeral" } }],
  ];
  for (const [path, body] of bodies) await ok(await post(app, path, { ...body, ...besides }));
});

Deno.test("an unknown model is a 404 that names the one there is", async () => {
  const app = appOver(new FakeService());
  for (const path of [CHAT, COMPLETIONS, "/tokenize", "/detokenize"]) {
    const error = await failed(await post(app, path, { model: "gpt-9" }), 404);
    assertEquals(error.code, "model_not_found");
    assertEquals(error.param, "model");
    assertEquals(error.message, 'The model "gpt-9" does not exist: this server has "fake/model"');
  }
});

Deno.test("a long bad value is shortened in the error", async () => {
  const body = { messages: [user], temperature: "x".repeat(100_000) };
  const error = await failed(await post(appOver(new FakeService()), CHAT, body), 400);
  assert(error.message.length < 200);
});

Deno.test("keys of the object prototype are keys like others", async () => {
  const service = new FakeService();
  const app = appOver(service);
  const raw = '{"messages":[{"role":"user","content":"hi","__proto__":{"name":"x"}}],' +
    '"__proto__":{"temperature":9,"n":7},"constructor":1,"toString":2,"hasOwnProperty":null}';
  await ok(await post(app, CHAT, raw));
  assertEquals(service.requests[0]!.n, 1);
  assertEquals(service.chats[0]!.messages, [{ role: "user", content: "hi" }]);
  const bias = '{"messages":[{"role":"user","content":"hi"}],"logit_bias":{"__proto__":5}}';
  assertEquals((await failed(await post(app, CHAT, bias), 400)).param, "logit_bias");
});

Deno.test("numbers that overflow are refused, not taken for infinity", async () => {
  const raw = '{"prompt":"hi","temperature":1e999}';
  const error = await failed(await post(appOver(new FakeService()), COMPLETIONS, raw), 400);
  assertEquals(error.message, "temperature must be a number from 0 to 2, not Infinity");
});
