// SPDX-License-Identifier: Apache-2.0
// The server as a user starts it, with the embedded model and the npm client.
import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { documents4096 } from "../fixtures/documents.ts";
import { serverSentEvents, TestServer } from "../fixtures/server.ts";

const CONTENT =
  "The secret code for the harbour gate is: 5273107. Ada keeps the lamp.\nWhat is the secret code for the harbour gate?";
const MESSAGES = [{ role: "user" as const, content: CONTENT }];

function client(url: string): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
}

async function health(url: string): Promise<Record<string, number | string>> {
  return await (await fetch(`${url}/health`)).json();
}

Deno.test("one server, many uses", async (t) => {
  await using server = new TestServer(["--memory", "2GiB"]);
  const url = await server.ready();
  const openai = client(url);
  const document = (await documents4096()).find((d) => d.family === "single_prose")!;
  const { question, answer } = document.questions[0]!;
  const messages = [{ role: "user" as const, content: document.document + question }];

  await t.step("a document of 4,000 tokens is answered rightly as it streams", async () => {
    let text = "";
    const stream = await openai.chat.completions.create({
      model: "recall",
      stream: true,
      temperature: 0,
      messages,
    });
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    assertEquals(text, answer);
  });

  await t.step("nothing of CUDA is opened for somebody who asks for no GPU", async () => {
    const files = [...await server.mappedFiles()];
    assert(files.some((file) => file.endsWith("/libsounder.so")), files.join());
    assertEquals(files.filter((file) => /cuda|cublas|nvidia/i.test(file.split("/").at(-1)!)), []);
  });

  await t.step("the same without a stream, with usage", async () => {
    const completion = await openai.chat.completions.create({
      model: "recall",
      temperature: 0,
      messages,
    });
    assertEquals(completion.choices[0]!.message.content, answer);
    assertEquals(completion.choices[0]!.finish_reason, "stop");
    assertEquals(
      completion.usage!.total_tokens,
      completion.usage!.prompt_tokens + completion.usage!.completion_tokens,
    );
  });

  await t.step("requests at once give what each gives alone", async () => {
    const ask = async (i: number) => {
      const completion = await openai.chat.completions.create({
        model: "recall",
        max_tokens: 24,
        temperature: 0.8,
        seed: i,
        messages: [{ role: "user", content: `The number of room ${i} is ${i}${i}. ${CONTENT}` }],
      });
      return completion.choices[0]!.message.content;
    };
    const together = await Promise.all([1, 2, 3, 4, 5, 6].map(ask));
    const alone: (string | null)[] = [];
    for (const i of [1, 2, 3, 4, 5, 6]) alone.push(await ask(i));
    const equal = together.filter((text, i) => text === alone[i]).length;
    // Another batch rounds differently; with sampling that can turn a token now and then.
    assert(equal >= 5, `${equal} of 6 equal`);
  });

  await t.step("a prompt that does not fit is refused with both numbers", async () => {
    const long = "word ".repeat(40_000);
    const error = await assertRejects(
      () =>
        openai.chat.completions.create({
          model: "recall",
          messages: [{ role: "user", content: long }],
        }),
      OpenAI.BadRequestError,
    );
    assertEquals(error.code, "context_length_exceeded");
    assertStringIncludes(error.message, "32768");
  });

  await t.step("a client that leaves in a long prefill frees everything at once", async () => {
    const controller = new AbortController();
    const filler = document.document.repeat(7);
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      signal: controller.signal,
      body: JSON.stringify({
        model: "recall",
        stream: true,
        messages: [{ role: "user", content: filler + question }],
      }),
    });
    assertEquals(response.status, 200);
    assertEquals((await health(url)).status, "ok");
    controller.abort();
    await response.body?.cancel().catch(() => {});
    const deadline = performance.now() + 2000;
    for (;;) {
      const now = await health(url);
      if (now.running === 0 && now.kv_blocks_free === now.kv_blocks) break;
      assertLess(performance.now(), deadline, JSON.stringify(now));
      await new Promise((done) => setTimeout(done, 20));
    }
  });

  await t.step("the event loop answers within milliseconds while a prefill runs", async () => {
    // Another beginning, so that nothing of it is cached.
    const content = `Read on. ${document.document}`;
    const busy = openai.chat.completions.create({
      model: "recall",
      max_tokens: 4,
      messages: [{ role: "user", content }],
    });
    const times: number[] = [];
    let done = false;
    busy.then(() => done = true);
    while (!done) {
      const start = performance.now();
      await health(url);
      times.push(performance.now() - start);
      await new Promise((resume) => setTimeout(resume, 5));
    }
    assertLess((await busy).usage!.prompt_tokens_details!.cached_tokens!, 128);
    times.sort((a, b) => a - b);
    assertLess(times[Math.floor(times.length / 2)]!, 20);
  });

  await t.step("a streamed answer has the role, the text, one finish and [DONE]", async () => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "recall", stream: true, temperature: 0, messages: MESSAGES }),
    });
    const events = await Array.fromAsync(serverSentEvents(response));
    assertEquals(events.at(-1), "[DONE]");
    const chunks = events.slice(0, -1) as OpenAI.ChatCompletionChunk[];
    assertEquals(chunks[0]!.choices[0]!.delta.role, "assistant");
    assertEquals(chunks.filter((c) => c.choices[0]!.finish_reason !== null).length, 1);
  });
});

Deno.test("SIGTERM lets a running stream end, then the process leaves with code 0", async () => {
  await using server = new TestServer(["--memory", "1GiB"]);
  const url = await server.ready();
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify({
      model: "recall",
      prompt: "Once",
      max_tokens: 200,
      ignore_eos: true,
      stream: true,
    }),
  });
  server.signal("SIGTERM");
  const events = await Array.fromAsync(serverSentEvents(response));
  assertEquals(events.at(-1), "[DONE]");
  assertEquals(await server.ended(), 0);
});

Deno.test("with a key, requests without it are 401 and health stays open", async () => {
  await using server = new TestServer(["--memory", "1GiB"], { SOUNDER_API_KEY: "secret" });
  const url = await server.ready();
  await assertRejects(() => client(url).models.list(), OpenAI.AuthenticationError);
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "secret" });
  assertEquals((await openai.models.list()).data[0]!.id, "recall");
  assertEquals((await health(url)).status, "ok");
});

Deno.test("mistakes on the command line are one line and exit code 2", async (t) => {
  const cases: [string[], string][] = [
    [["--bogus"], "--bogus"],
    [["--threads", "many"], "--threads"],
    [["--model", "/no/such/model"], "/no/such/model"],
    [["--memory", "1MiB"], "memory"],
    [["--host", "no.such.host.invalid"], "no.such.host.invalid"],
  ];
  for (const [args, expected] of cases) {
    await t.step(args.join(" "), async () => {
      await using server = new TestServer(args);
      assertEquals(await server.ended(), 2, server.log);
      const lines = server.log.trim().split("\n").filter((line) => !line.includes("(loading)"));
      assertEquals(lines.length, 1, server.log);
      assertStringIncludes(lines[0]!, expected);
    });
  }
});
