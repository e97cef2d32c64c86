// SPDX-License-Identifier: Apache-2.0
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { done, FakeService, finish, speak } from "../fixtures/fake_service.ts";
import { appOver, failed, type Json, ok, post, serving } from "./client.ts";

const PATH = "/v1/embeddings";

/** The fake service's embedding of a prompt, at length 1. */
function expected(first: number, tokens: number, dimensions = 3): number[] {
  const values = [first, tokens, -1].slice(0, dimensions);
  return values.map((value) => value / Math.hypot(...values));
}

function assertClose(actual: number[], wanted: number[]): void {
  assertEquals(actual.length, wanted.length);
  actual.forEach((value, i) => assertAlmostEquals(value, wanted[i]!, 1e-6));
}

Deno.test("embeddings: all forms of input, in their order, with the tokens counted", async () => {
  const forms: [input: Json, wanted: number[][], tokens: number][] = [
    ["hi", [expected(256, 3)], 3],
    [["hi", "you"], [expected(256, 3), expected(256, 4)], 7],
    [[5, 6], [expected(5, 2)], 2],
    [[[5, 6], [7]], [expected(5, 2), expected(7, 1)], 3],
  ];
  for (const [input, wanted, tokens] of forms) {
    const service = new FakeService();
    const answer = await ok(await post(appOver(service), PATH, { input }));
    assertEquals([answer.object, answer.model], ["list", "fake/model"]);
    assertEquals(answer.usage, { prompt_tokens: tokens, total_tokens: tokens });
    answer.data.forEach(({ object, index, embedding }: Json, i: number) => {
      assertEquals([object, index], ["embedding", i]);
      assertClose(embedding, wanted[i]!);
    });
    assertEquals(answer.data.length, wanted.length);
    assert(service.requests.every(({ embed, maxTokens }) => embed && maxTokens === 0));
  }
});

Deno.test("embeddings: fewer dimensions are the first ones, at length 1 again", async () => {
  const answer = await ok(
    await post(appOver(new FakeService()), PATH, { input: [5], dimensions: 2 }),
  );
  assertClose(answer.data[0].embedding, expected(5, 1, 2));
});

Deno.test("embeddings: many inputs are computed a few at a time", async () => {
  let running = 0, most = 0;
  const service = new FakeService(async function* (request) {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
    yield* speak([])(request) as Iterable<never>;
  });
  const input = Array.from({ length: 50 }, (_, i) => [i + 1]);
  const { data } = await ok(await post(appOver(service), PATH, { input }));
  assertClose(data[49].embedding, expected(50, 1));
  assertEquals(most, 16);
});

Deno.test("embeddings: what is wrong is named", async () => {
  const app = appOver(new FakeService());
  const cases: [fields: Record<string, unknown>, param: string, part: string][] = [
    [{ input: undefined }, "input", "is missing"],
    [{ input: [] }, "input", "an empty array"],
    [{ input: [[]] }, "input[0]", "at least one token"],
    [{ input: [300] }, "input[0]", "from 0 to 259"],
    [{ input: "", add_special_tokens: false }, "input", "no tokens"],
    [{ input: "hi", dimensions: 4 }, "dimensions", "from 1 to 3"],
    [{ input: "x".repeat(5000) }, "input", "the context holds 4096"],
    [{ input: "hi", truncate_prompt_tokens: 1 }, "truncate_prompt_tokens", "never cuts"],
    [{ input: "hi", encoding_format: "int8" }, "encoding_format", '"float", "base64"'],
  ];
  for (const [fields, param, part] of cases) {
    const error = await failed(await post(app, PATH, fields), 400);
    assertEquals(error.param, param, JSON.stringify(fields));
    assertStringIncludes(error.message, part);
  }
});

Deno.test("embeddings of nothing but zeros stay zeros", async () => {
  const service = new FakeService(() => [
    finish(0),
    { ...done(), embedding: new Float32Array(3) } as ReturnType<typeof done>,
  ]);
  const answer = await ok(await post(appOver(service), PATH, { input: "hi" }));
  assertEquals(answer.data[0].embedding, [0, 0, 0]);
});

Deno.test("openai: embeddings, in base64 unless the user says otherwise", async () => {
  await serving(appOver(new FakeService()), async (base) => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
    const request = { model: "fake/model", input: ["hi", "you"] };
    for (const more of [{}, { encoding_format: "float" as const }]) {
      const { data, usage } = await client.embeddings.create({ ...request, ...more });
      assertClose(data[1]!.embedding, expected(256, 4));
      assertEquals(usage.total_tokens, 7);
    }
  });
});
