// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { done, FakeService, finish, gate, speak, text } from "../fixtures/fake_service.ts";
import {
  appOver,
  chunksOf,
  envelope,
  EXACT_USAGE,
  failed,
  framesOf,
  post,
  Reader,
} from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

/** The stream with its id and time, which must be the same in all chunks, replaced. */
function normalised(stream: string): string {
  const id = /"id":"(chatcmpl-[0-9a-f]{32})"/.exec(stream)![1]!;
  const created = /"created":(\d{10}),/.exec(stream)![1]!;
  return stream.replaceAll(`"id":"${id}"`, '"id":ID').replaceAll(
    `"created":${created}`,
    '"created":T',
  );
}

const HEAD = '{"id":ID,"object":"chat.completion.chunk","created":T,"model":"fake/model"';

Deno.test("a chat stream's bytes: ping, role, deltas, finish, [DONE]", async () => {
  const response = await post(appOver(new FakeService()), CHAT, { messages, stream: true });
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  assertEquals(response.headers.get("cache-control"), "no-cache, no-transform");
  assertMatch(response.headers.get("x-request-id")!, /^req_[0-9a-f]{32}$/);
  const choice = (delta: string, rest = '"finish_reason":null') =>
    `data: ${HEAD},"choices":[{"index":0,"delta":${delta},"logprobs":null,${rest}}]}\n\n`;
  assertEquals(
    normalised(await response.text()),
    ": ping\n\n" +
      choice('{"role":"assistant","content":"","refusal":null}') +
      choice('{"content":"Hello"}') +
      choice('{"content":", "}') +
      choice('{"content":"world"}') +
      choice("{}", '"finish_reason":"stop","stop_reason":null') +
      "data: [DONE]\n\n",
  );
});

Deno.test("include_usage: null in every chunk, then one chunk without choices, then [DONE]", async () => {
  const response = await post(appOver(new FakeService()), CHAT, {
    messages,
    stream: true,
    stream_options: { include_usage: true, include_obfuscation: false },
  });
  const stream = await response.text();
  assert(stream.endsWith("data: [DONE]\n\n"));
  const chunks = chunksOf(stream);
  const last = chunks.pop();
  for (const chunk of chunks) assertEquals(chunk.usage, null);
  assertEquals(chunks.at(-1).choices[0].finish_reason, "stop");
  assertEquals(last.choices, []);
  assertEquals(last.usage, {
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
  });
});

Deno.test("without include_usage no chunk mentions usage", async () => {
  for (const options of [{}, { stream_options: {} }, { stream_options: null }]) {
    const response = await post(appOver(new FakeService()), CHAT, {
      messages,
      stream: true,
      ...options,
    });
    assert(!(await response.text()).includes("usage"));
  }
});

Deno.test("continuous_usage_stats counts tokens in every chunk", async () => {
  const response = await post(appOver(new FakeService()), CHAT, {
    messages,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  });
  const counts = chunksOf(await response.text()).map((chunk) => chunk.usage.completion_tokens);
  assertEquals(counts, [0, 1, 2, 3, 3, 3]);
});

Deno.test("n = 2: a role and one finish for each index, chunks interleaved, one usage", async () => {
  const response = await post(appOver(new FakeService()), CHAT, {
    messages,
    stream: true,
    n: 2,
    stream_options: { include_usage: true },
  });
  const chunks = chunksOf(await response.text());
  const shown = chunks.map(({ choices: [choice], usage }) =>
    choice === undefined
      ? `usage ${usage.completion_tokens}`
      : `${choice.index} ${choice.finish_reason ?? choice.delta.role ?? choice.delta.content}`
  );
  assertEquals(shown, [
    ...["0 assistant", "1 assistant", "0 Hello", "1 Hello", "0 , ", "1 , ", "0 world", "1 world"],
    ...["0 stop", "1 stop", "usage 6"],
  ]);
});

Deno.test("logprobs ride with the tokens, also where text is held back", async () => {
  const service = new FakeService(function* (request) {
    const spoken = [...speak(["a", "b"])(request) as Iterable<never>];
    const [a, b, ...rest] = spoken as { tokens: unknown; text: string }[];
    yield { ...a, text: "" } as never;
    yield { ...b, text: "ab" } as never;
    yield* rest as never[];
  });
  const response = await post(appOver(service), CHAT, {
    messages,
    stream: true,
    logprobs: true,
    top_logprobs: 1,
  });
  const choices = chunksOf(await response.text()).map((chunk) => chunk.choices[0]);
  assertEquals(choices.map((choice) => choice.delta.content), ["", "", "ab", undefined]);
  assertEquals(choices.map((choice) => choice.logprobs?.content[0].token), [
    undefined,
    "a",
    "b",
    undefined,
  ]);
});

Deno.test("pingSeconds 0: no comments, and the role rides with the first token", async () => {
  const app = appOver(new FakeService(), { pingSeconds: 0 });
  const stream = await (await post(app, CHAT, { messages, stream: true })).text();
  assert(!stream.includes("ping"));
  const deltas = chunksOf(stream).map((chunk) => chunk.choices[0].delta);
  assertEquals(deltas, [
    { role: "assistant", content: "Hello", refusal: null },
    { content: ", " },
    { content: "world" },
    {},
  ]);
});

Deno.test("pingSeconds 0: an answer without text still has its role", async () => {
  const app = appOver(new FakeService(() => [finish(0), done()]), { pingSeconds: 0 });
  const stream = await (await post(app, CHAT, { messages, stream: true })).text();
  assertEquals(chunksOf(stream).map((chunk) => chunk.choices[0].delta), [
    { role: "assistant", content: "", refusal: null },
  ]);
});

Deno.test("headers, ping and role go out before the first token, and pings fill the silence", async () => {
  const first = gate();
  const service = new FakeService(async function* () {
    await first.opened;
    yield text(0, "late");
    yield finish(0);
    yield done();
  });
  const response = await post(appOver(service, { pingSeconds: 0.005 }), CHAT, {
    messages,
    stream: true,
  });
  const reader = new Reader(response);
  assertEquals(await reader.next(), ": ping\n\n");
  assert((await reader.next())!.includes('"role":"assistant"'));
  for (let i = 0; i < 3; i++) assertEquals(await reader.next(), ": ping\n\n");
  first.open();
  let rest = "";
  for (let piece = await reader.next(); piece !== null; piece = await reader.next()) {
    if (piece !== ": ping\n\n") rest += piece;
  }
  assertEquals(chunksOf(rest)[0].choices[0].delta, { content: "late" });
  assertEquals(framesOf(rest).at(-1), "data: [DONE]");
});

Deno.test("an error after the headers is an event with the envelope, and there is no [DONE]", async () => {
  const logged: string[] = [];
  const service = new FakeService(function* () {
    yield text(0, "so far");
    throw new Failure("engine", "The logits are not finite");
  });
  const app = appOver(service, { log: (line) => logged.push(line) });
  const response = await post(app, CHAT, { messages, stream: true });
  const frames = framesOf(await response.text());
  const error = envelope(JSON.parse(frames.at(-1)!.slice("data: ".length)));
  assertEquals(error.message, "The logits are not finite");
  assertEquals(error.type, "server_error");
  assertEquals(frames.filter((frame) => frame.includes('"error"')).length, 1);
  assert(!frames.includes("data: [DONE]"));
  assertEquals(logged, [
    `${response.headers.get("x-request-id")}: engine failure: The logits are not finite`,
  ]);
});

Deno.test("a bug in a stream keeps its words in the log", async () => {
  const logged: string[] = [];
  const service = new FakeService(function* () {
    yield text(0, "so far");
    throw new TypeError("undefined is not a token");
  });
  const app = appOver(service, { log: (line) => logged.push(line) });
  const stream = await (await post(app, CHAT, { messages, stream: true })).text();
  assertEquals(chunksOf(stream)[1].choices[0].delta.content, "so far");
  assert(!stream.includes("undefined is not a token"));
  assertEquals(logged.length, 1);
  assert(logged[0]!.includes("undefined is not a token"));
});

Deno.test("a stream that the server ends early ends with an error event", async () => {
  const service = new FakeService(() => [text(0, "so far")]);
  const stream = await (await post(appOver(service), CHAT, { messages, stream: true })).text();
  const error = envelope(chunksOf(stream).at(-1));
  assertEquals(error.code, "unavailable");
  assert(!stream.includes("[DONE]"));
});

Deno.test("cancelling the body cancels the generation, once", async () => {
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await gate().opened;
  });
  const response = await post(appOver(service), CHAT, { messages, stream: true });
  const reader = new Reader(response);
  for (let i = 0; i < 3; i++) await reader.next();
  await reader.cancel();
  assertEquals(service.cancelled, [service.requests[0]!.id]);
});

Deno.test("the request's signal cancels the generation and ends the stream", async () => {
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await gate().opened;
  });
  const client = new AbortController();
  const response = await post(appOver(service), CHAT, { messages, stream: true }, {
    signal: client.signal,
  });
  const reader = new Reader(response);
  for (let i = 0; i < 3; i++) await reader.next();
  const last = reader.next();
  client.abort();
  assertEquals(await last, null);
  assertEquals(service.cancelled.length, 1);
});

Deno.test("a stream that was read to its end cancels nothing", async () => {
  const service = new FakeService();
  const client = new AbortController();
  const response = await post(appOver(service), CHAT, { messages, stream: true }, {
    signal: client.signal,
  });
  await response.text();
  client.abort();
  assertEquals(service.cancelled, []);
});

Deno.test("a reader that stops is not written ahead of", async () => {
  let made = 0;
  const service = new FakeService(function* () {
    for (; made < 1000; made++) yield text(0, "x".repeat(1000));
    yield finish(0);
    yield done();
  });
  const response = await post(appOver(service), CHAT, { messages, stream: true });
  const reader = new Reader(response);
  for (let i = 0; i < 5; i++) await reader.next();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert(made <= 5, `${made} events were taken for 3 that were read`);
  await reader.cancel();
});

Deno.test("a refused stream is a real status, not an event", async () => {
  const service = new FakeService();
  service.refusals.set(
    0,
    new Failure("too_many_requests", "The queue is full", { retryAfterSeconds: 3.2 }),
  );
  const response = await post(appOver(service), CHAT, { messages, stream: true });
  assertEquals(response.headers.get("retry-after"), "4");
  const error = await failed(response, 429);
  assertEquals(error.code, "rate_limit_exceeded");
});
