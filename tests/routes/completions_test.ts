// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import {
  done,
  FakeService,
  finish,
  gate,
  speak,
  text,
  tokenInfo,
} from "../fixtures/fake_service.ts";
import { appOver, chunksOf, EXACT_USAGE, failed, type Json, ok, post } from "./client.ts";

const PATH = "/v1/completions";

Deno.test("a whole completion has OpenAI's keys in OpenAI's shape", async () => {
  const answer = await ok(await post(appOver(new FakeService()), PATH, { prompt: "hi" }));
  assertMatch(answer.id, /^cmpl-[0-9a-f]{32}$/);
  assertEquals(Object.keys(answer), ["id", "object", "created", "model", "choices", "usage"]);
  assertEquals(answer.object, "text_completion");
  assertEquals(answer.choices, [{
    index: 0,
    text: "Hello, world",
    logprobs: null,
    finish_reason: "stop",
    stop_reason: null,
  }]);
  assertEquals(answer.usage.total_tokens, 6);
});

Deno.test("max_tokens is 16 by default; 0 needs echo", async () => {
  const service = new FakeService();
  const app = appOver(service);
  await ok(await post(app, PATH, { prompt: "hi" }));
  assertEquals(service.requests[0]!.maxTokens, 16);
  const error = await failed(await post(app, PATH, { prompt: "hi", max_tokens: 0 }), 400);
  assertEquals(error.param, "max_tokens");
  const answer = await ok(await post(app, PATH, { prompt: "hi", max_tokens: 0, echo: true }));
  assertEquals(answer.choices[0].text, "hi");
  assertEquals(answer.choices[0].finish_reason, "length");
});

Deno.test("all four forms of a prompt", async () => {
  const forms: [unknown, number[][]][] = [
    ["hé<|im_end|>", [[256, 104, 195, 169, 259]]],
    [["a", "b"], [[256, 97], [256, 98]]],
    [[1, 2, 3], [[1, 2, 3]]],
    [[[1], [2, 3]], [[1], [2, 3]]],
    [["a", [7]], [[256, 97], [7]]],
  ];
  for (const [prompt, tokens] of forms) {
    const service = new FakeService();
    const answer = await ok(await post(appOver(service), PATH, { prompt }));
    assertEquals(service.requests.map((request) => [...request.prompt]), tokens);
    assertEquals(answer.choices.map((choice: Json) => choice.index), tokens.map((_, i) => i));
  }
});

Deno.test("add_special_tokens false leaves BOS out", async () => {
  const service = new FakeService();
  await ok(await post(appOver(service), PATH, { prompt: "a", add_special_tokens: false }));
  assertEquals([...service.requests[0]!.prompt], [97]);
});

Deno.test("k prompts with n choices each: index i * n + j, usage summed, ids told apart", async () => {
  const service = new FakeService((request) => {
    const name = String.fromCharCode(request.prompt.at(-1)!);
    return [text(1, `${name}1`), text(0, `${name}0`), finish(0), finish(1), done()];
  });
  const answer = await ok(await post(appOver(service), PATH, { prompt: ["x", "y"], n: 2 }));
  assertEquals(answer.choices.map((choice: Json) => `${choice.index} ${choice.text}`), [
    "0 x0",
    "1 x1",
    "2 y0",
    "3 y1",
  ]);
  assertEquals(answer.usage.prompt_tokens, 6);
  assertEquals(answer.usage.completion_tokens, 4);
  assertEquals(answer.usage.sounder.keys_total, 100);
  assertEquals(service.requests.map(({ id }) => id), [`${answer.id}-0`, `${answer.id}-1`]);
});

Deno.test("several prompts stream side by side: a slow one holds nobody up", async () => {
  const slow = gate();
  const service = new FakeService(async function* (request) {
    const fast = request.prompt.at(-1) === 121;
    if (!fast) await slow.opened;
    yield text(0, fast ? "fast" : "slow");
    yield finish(0);
    if (fast) slow.open();
    yield done();
  });
  const response = await post(appOver(service), PATH, { prompt: ["x", "y"], stream: true });
  const stream = await response.text();
  assert(stream.endsWith("data: [DONE]\n\n"));
  assertEquals(
    chunksOf(stream).map(({ choices: [choice] }) => `${choice.index} ${choice.text}`),
    ["1 fast", "1 ", "0 slow", "0 "],
  );
});

Deno.test("several prompts are admitted all or none", async () => {
  const service = new FakeService();
  service.refusals.set(2, new Failure("too_many_requests", "The queue is full"));
  await failed(await post(appOver(service), PATH, { prompt: ["a", "b", "c"] }), 429);
  assertEquals(service.cancelled, service.requests.map(({ id }) => id));
  assertEquals(service.cancelled.length, 2);
});

Deno.test("one prompt that fails ends the request and cancels the others", async () => {
  const service = new FakeService(async function* (request) {
    if (request.prompt.at(-1) === 98) throw new Failure("memory", "Out of blocks");
    await gate().opened;
    yield done();
  });
  const app = appOver(service, { log: () => {} });
  await failed(await post(app, PATH, { prompt: ["a", "b", "c"] }), 500);
  assert(service.cancelled.includes(service.requests[0]!.id));
  assert(service.cancelled.includes(service.requests[2]!.id));
});

Deno.test("a completion stream's bytes", async () => {
  const response = await post(appOver(new FakeService(speak(["a", "b"]))), PATH, {
    prompt: "hi",
    stream: true,
    stream_options: { include_usage: true },
  });
  const stream = (await response.text())
    .replaceAll(/"id":"cmpl-[0-9a-f]{32}"/g, '"id":ID')
    .replaceAll(/"created":\d{10},/g, '"created":T,');
  const chunk = (rest: string) =>
    `data: {"id":ID,"object":"text_completion","created":T,"model":"fake/model",${rest}}\n\n`;
  const choice = (text: string, rest: string) =>
    chunk(`"choices":[{"index":0,"text":"${text}","logprobs":null,${rest}}],"usage":null`);
  assertEquals(
    stream,
    ": ping\n\n" +
      choice("a", '"finish_reason":null') +
      choice("b", '"finish_reason":null') +
      choice("", '"finish_reason":"stop","stop_reason":null') +
      chunk(
        '"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,' +
          '"prompt_tokens_details":{"cached_tokens":1,"audio_tokens":0},' +
          '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,' +
          '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},' +
          `"sounder":${JSON.stringify(EXACT_USAGE)}}`,
      ) +
      "data: [DONE]\n\n",
  );
});

Deno.test("echo with logprobs: the prompt's first token has none, offsets run through the text", async () => {
  const request = { prompt: "é🐗b", echo: true, logprobs: 1, max_tokens: 2 };
  const service = new FakeService(speak(["c🐗", "d"]));
  const answer = await ok(await post(appOver(service), PATH, request));
  assertEquals(service.requests[0]!.scorePrompt, 1);
  const [{ text, logprobs }] = answer.choices;
  assertEquals(text, "é🐗bc🐗d");
  assertEquals(logprobs.tokens.length, 10);
  assertEquals(logprobs.tokens[0], "<s>");
  assertEquals(logprobs.token_logprobs, [null, -1, -2, -3, -4, -5, -6, -7, -0.5, -1.5]);
  assertEquals(logprobs.top_logprobs[0], null);
  assertEquals(logprobs.top_logprobs[8], { "c🐗": -0.5 });
  // BOS is no part of the text; a character's bytes belong to where the character starts.
  assertEquals(logprobs.text_offset, [0, 0, 0, 1, 1, 1, 1, 2, 3, 5]);
});

Deno.test("a stream with echo and logprobs adds up to the whole answer", async () => {
  for (const logprobs of [null, 0, 2]) {
    const request = { prompt: ["one", "two"], n: 2, echo: true, logprobs };
    const app = appOver(new FakeService());
    const whole = await ok(await post(app, PATH, request));
    const stream = await (await post(app, PATH, { ...request, stream: true })).text();
    const sums: { text: string; tokens: string[]; offsets: number[] }[] = Array.from(
      { length: 4 },
      () => ({ text: "", tokens: [], offsets: [] }),
    );
    for (const { choices: [choice] } of chunksOf(stream)) {
      const sum = sums[choice.index]!;
      sum.text += choice.text;
      sum.tokens.push(...choice.logprobs?.tokens ?? []);
      sum.offsets.push(...choice.logprobs?.text_offset ?? []);
    }
    assertEquals(
      sums,
      whole.choices.map((choice: Json) => ({
        text: choice.text,
        tokens: choice.logprobs?.tokens ?? [],
        offsets: choice.logprobs?.text_offset ?? [],
      })),
    );
    assertEquals(sums[2]!.text, "twoHello, world");
  }
});

Deno.test("echo of tokens decodes them", async () => {
  const answer = await ok(
    await post(appOver(new FakeService()), PATH, { prompt: [256, 104, 105], echo: true }),
  );
  assertEquals(answer.choices[0].text, "hiHello, world");
});

Deno.test("top_logprobs holds the token itself, and a key may be __proto__", async () => {
  const service = new FakeService(function* () {
    const alternatives = tokenInfo(9, "x", -0.1, 1).alternatives;
    yield text(0, "__proto__", [{ ...tokenInfo(1, "__proto__", -3), alternatives }]);
    yield finish(0);
    yield done();
  });
  const response = await post(appOver(service), PATH, { prompt: "hi", logprobs: 1 });
  assert((await response.text()).includes('"top_logprobs":[{"x":-0.1,"__proto__":-3}]'));
});

Deno.test("best_of must equal n", async () => {
  const app = appOver(new FakeService());
  await ok(await post(app, PATH, { prompt: "a", n: 2, best_of: 2 }));
  const error = await failed(await post(app, PATH, { prompt: "a", n: 2, best_of: 4 }), 400);
  assertEquals(error.param, "best_of");
});

Deno.test("return_token_ids in a stream: the prompt's once, then each piece's", async () => {
  const response = await post(appOver(new FakeService(speak(["a", "b"]))), PATH, {
    prompt: [5, 6],
    stream: true,
    return_token_ids: true,
  });
  const choices = chunksOf(await response.text()).map((chunk) => chunk.choices[0]);
  assertEquals(choices.map((choice) => choice.prompt_token_ids), [[5, 6], undefined, undefined]);
  assertEquals(choices.map((choice) => choice.token_ids), [[0], [1], []]);
  assertEquals(choices.map((choice) => choice.logprobs), [null, null, null]);
});

Deno.test("an empty prompt that gets no BOS is a 400", async () => {
  const service = new FakeService();
  const body = { prompt: "", add_special_tokens: false };
  const error = await failed(await post(appOver(service), PATH, body), 400);
  assertEquals(error.param, "prompt");
  assertEquals(service.requests, []);
});

Deno.test("more prompts than can run and wait are a 400 that says how many may come", async () => {
  const service = new FakeService();
  service.info = { ...service.info, mostRequests: 3 };
  const app = appOver(service);
  assertEquals((await ok(await post(app, PATH, { prompt: ["a", "b", "c"] }))).choices.length, 3);
  const error = await failed(await post(app, PATH, { prompt: ["a", "b", "c", "d"] }), 400);
  assertEquals([error.param, service.requests.length], ["prompt", 3]);
  assertStringIncludes(error.message, "3. Send them in several");
});
