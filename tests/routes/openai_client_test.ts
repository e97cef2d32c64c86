// SPDX-License-Identifier: Apache-2.0
/** The official client against the routes through a socket: if it understands us, most others do. */
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from "openai";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { type AppOptions } from "../../routes/app.ts";
import { Failure } from "../../src/errors.ts";
import { done, FakeService, finish, gate, speak, text } from "../fixtures/fake_service.ts";
import { appOver, serving } from "./client.ts";

const model = "fake/model";
const messages = [{ role: "user" as const, content: "hi" }];

async function asking(
  service: FakeService,
  use: (client: OpenAI) => Promise<void>,
  options: Partial<AppOptions> = {},
  apiKey = "unused",
): Promise<void> {
  await serving(appOver(service, options), async (base) => {
    await use(new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 }));
  });
}

Deno.test("openai: a whole chat answer, with log-probabilities and a request id", async () => {
  await asking(new FakeService(), async (client) => {
    const answer = await client.chat.completions.create({
      model,
      messages,
      n: 2,
      logprobs: true,
      top_logprobs: 1,
      seed: 7,
    });
    assertEquals(answer.choices.map((choice) => choice.message.content), [
      "Hello, world",
      "Hello, world",
    ]);
    assertEquals(answer.choices[1]!.logprobs?.content?.[0]?.top_logprobs[0]?.token, "Hello");
    assertEquals(answer.usage?.total_tokens, 15);
    assertEquals(answer.usage?.prompt_tokens_details?.cached_tokens, 1);
    assert(answer._request_id?.startsWith("req_"));
  });
});

Deno.test("openai: a stream, its finish and its usage", async () => {
  await asking(new FakeService(speak(["a", "b"], "length")), async (client) => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let said = "";
    const reasons: unknown[] = [];
    let usage;
    for await (const chunk of stream) {
      said += chunk.choices[0]?.delta.content ?? "";
      reasons.push(...chunk.choices.map((choice) => choice.finish_reason));
      usage = chunk.usage;
    }
    assertEquals(said, "ab");
    assertEquals(reasons, [null, null, null, "length"]);
    assertEquals(usage?.completion_tokens, 2);
  });
});

Deno.test("openai: the .stream() helper puts the message together, with pings and without", async () => {
  for (const pingSeconds of [0, 0.001, 10]) {
    const service = new FakeService(async function* () {
      for (const piece of ["Hel", "lo"]) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        for (const choice of [1, 0]) yield text(choice, `${piece}${choice}`);
      }
      yield finish(0);
      yield finish(1, "length");
      yield done();
    });
    await asking(service, async (client) => {
      const stream = client.chat.completions.stream({ model, messages, n: 2 });
      const answer = await stream.finalChatCompletion();
      assertEquals(
        answer.choices.map(({ message, finish_reason }) => [
          message.role,
          message.content,
          finish_reason,
        ]),
        [["assistant", "Hel0lo0", "stop"], ["assistant", "Hel1lo1", "length"]],
      );
    }, { pingSeconds });
  }
});

Deno.test("openai: leaving a stream's loop reaches the service as a cancel", async () => {
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await gate().opened;
  });
  await asking(service, async (client) => {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    await service.firstCancel;
    assertEquals(service.cancelled, [service.requests[0]!.id]);
  });
});

Deno.test("openai: aborting a whole answer reaches the service as a cancel", async () => {
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await gate().opened;
  });
  await asking(service, async (client) => {
    const stop = new AbortController();
    const answer = client.chat.completions.create({ model, messages }, { signal: stop.signal });
    const refused = assertRejects(() => answer, OpenAI.APIUserAbortError);
    while (service.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    stop.abort();
    await refused;
    await service.firstCancel;
  });
});

Deno.test("openai: each error is the class that clients catch", async () => {
  const cases = [
    ["invalid", BadRequestError, 400, null],
    ["context_length", BadRequestError, 400, "context_length_exceeded"],
    ["too_many_requests", RateLimitError, 429, "rate_limit_exceeded"],
    ["unavailable", InternalServerError, 503, "unavailable"],
    ["engine", InternalServerError, 500, "engine_error"],
  ] as const;
  for (const [kind, type, status, code] of cases) {
    for (const stream of [true, false]) {
      const service = new FakeService();
      service.refusals.set(0, new Failure(kind, "Because of this"));
      await asking(service, async (client) => {
        const error = await assertRejects(
          () => Promise.resolve(client.chat.completions.create({ model, messages, stream })),
          APIError,
        );
        assertInstanceOf(error, type);
        assertEquals([error.status, error.code ?? null], [status, code]);
        assert(error.message.includes("Because of this"), error.message);
        assert(error.requestID?.startsWith("req_"));
      }, { log: () => {} });
    }
  }
});

Deno.test("openai: an unknown model, a wrong key, a bad field", async () => {
  await asking(new FakeService(), async (client) => {
    const chat = (body: object) =>
      Promise.resolve(client.chat.completions.create({ model, messages, ...body }));
    const missing = await assertRejects(() => chat({ model: "gpt-9" }), NotFoundError);
    assertEquals(missing.code, "model_not_found");
    const bad = await assertRejects(() => chat({ temperature: 3 }), BadRequestError);
    assertEquals(bad.param, "temperature");
  });
  const locked = { apiKeys: ["sk-right"] };
  await asking(new FakeService(), async (client) => {
    const error = await assertRejects(
      () => Promise.resolve(client.models.list()),
      AuthenticationError,
    );
    assertEquals(error.code, "invalid_api_key");
  }, locked);
  await asking(
    new FakeService(),
    async (client) => {
      assertEquals((await client.models.list()).data[0]?.id, model);
      assertEquals((await client.models.retrieve(model)).id, model);
    },
    locked,
    "sk-right",
  );
});

Deno.test("openai: a 429 is retried after the time that we say", async () => {
  const service = new FakeService();
  service.refusals.set(0, new Failure("too_many_requests", "Full", { retryAfterSeconds: 1 }));
  const generate = service.generate.bind(service);
  service.generate = (request) => {
    try {
      return generate(request);
    } finally {
      service.refusals.clear();
    }
  };
  await serving(appOver(service), async (base) => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 1 });
    const started = performance.now();
    const answer = await client.chat.completions.create({ model, messages });
    assertEquals(answer.choices[0]?.message.content, "Hello, world");
    assert(performance.now() - started > 900);
  });
});

Deno.test("openai: an error in the stream is raised, not taken for the end", async () => {
  const service = new FakeService(function* () {
    yield text(0, "so far");
    throw new Failure("memory", "Out of memory for the answer");
  });
  await asking(service, async (client) => {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    let said = "";
    const error = await assertRejects(async () => {
      for await (const chunk of stream) said += chunk.choices[0]?.delta.content ?? "";
    }, APIError);
    assertEquals(said, "so far");
    assert(error.message.includes("Out of memory for the answer"));
  }, { log: () => {} });
});

Deno.test("openai: completions with echo and logprobs, and all forms of a prompt", async () => {
  await asking(new FakeService(), async (client) => {
    const scored = await client.completions.create({
      model,
      prompt: "hi",
      echo: true,
      logprobs: 1,
      max_tokens: 0,
    });
    assertEquals(scored.choices[0]!.text, "hi");
    assertEquals(scored.choices[0]!.logprobs?.token_logprobs?.length, 3);
    for (const prompt of ["a", ["a", "b"], [1, 2], [[1], [2]]]) {
      const answer = await client.completions.create({ model, prompt });
      assertEquals(answer.choices[0]!.text, "Hello, world");
      const stream = await client.completions.create({ model, prompt, stream: true });
      let said = "";
      for await (const chunk of stream) {
        if (chunk.choices[0]!.index === 0) said += chunk.choices[0]!.text;
      }
      assertEquals(said, "Hello, world");
    }
  });
});

Deno.test("openai: a loop of many streams side by side ends and cancels nothing", async () => {
  const service = new FakeService(speak(Array.from({ length: 50 }, (_, i) => `${i} `)));
  await asking(service, async (client) => {
    const texts = await Promise.all(Array.from({ length: 16 }, async () => {
      const stream = client.chat.completions.stream({ model, messages });
      return await stream.finalContent();
    }));
    assertEquals(new Set(texts).size, 1);
    assertEquals(texts[0]!.trim().split(" ").length, 50);
  });
  assertEquals(service.cancelled, []);
});
