// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects } from "@std/assert";
import { gaps, percentile, randomTokens, stream } from "../../bench/completions.ts";
import { fakeServer } from "../fixtures/fake_http.ts";

Deno.test("percentiles and gaps are of the values", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  assertEquals([0, 0.5, 0.99, 1].map((share) => percentile(values, share)), [1, 51, 100, 100]);
  assertEquals(percentile([], 0.5), NaN);
  assertEquals(gaps([1, 3, 7]), [2, 4]);
});

Deno.test("random tokens are the same for the same seed, others for another, and in the vocabulary", () => {
  assertEquals(randomTokens(50, 250, 7), randomTokens(50, 250, 7));
  assert(randomTokens(50, 250, 7).some((token, i) => token !== randomTokens(50, 250, 8)[i]));
  assert(randomTokens(10_000, 250, 7).every((token) => token > 0 && token < 250));
});

const DONE = "data: [DONE]\n\n";
const TEXT = 'data: {"choices":[{"text":"a"}]}\n\n';

Deno.test("a stream's chunks with text are timed, and its usage is read", async () => {
  await using server = fakeServer(() =>
    new Response(
      TEXT + 'data: {"choices":[{"text":""}]}\n\n' + TEXT +
        'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,' +
        '"prompt_tokens_details":{"cached_tokens":4}}}\n\n' + DONE,
    )
  );
  const { times, ...usage } = await stream(server.url, {});
  assertEquals(times.length, 2);
  assertEquals(usage, { promptTokens: 5, tokens: 3, cached: 4 });
});

Deno.test("a stream that breaks off, ends in an error or is refused is no figure", async () => {
  for (
    const response of [
      new Response(TEXT),
      new Response(`${TEXT}data: {"error":{"message":"no"}}\n\n${DONE}`),
      new Response("busy", { status: 429 }),
    ]
  ) {
    await using server = fakeServer(() => response);
    await assertRejects(() => stream(server.url, {}));
  }
});
