// SPDX-License-Identifier: Apache-2.0
/** The field `sounder`, from the official client through routes, service and scheduler to a fake engine. */
import OpenAI, { BadRequestError } from "openai";
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { createApp } from "../../routes/app.ts";
import { type AttentionPolicy, EXACT_POLICY } from "../../src/engine/attention.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { ModelService } from "../../src/service.ts";
import { FakeEngine } from "../fixtures/fake_engine.ts";
import { FakeText } from "../fixtures/fake_text.ts";
import { done, FakeService, finish } from "../fixtures/fake_service.ts";
import { appOver, type Json, ok, post, serving } from "./client.ts";

const SKETCHES: AttentionPolicy = {
  ...EXACT_POLICY,
  autoFrom: 50,
  index: { ...NO_INDEX, sketchBits: 2 },
};

type Ask = (sounder?: object, more?: object) => Promise<Json>;

/** `use` asks a server with these indexes through the official client. */
async function asking(
  policy: AttentionPolicy,
  use: (ask: Ask, base: string, openai: OpenAI) => Promise<void>,
): Promise<void> {
  const engine = new FakeEngine();
  const service = new ModelService();
  service.ready({ engine, text: new FakeText(), model: { id: "fake" }, attention: policy });
  await serving(createApp(service, { version: "1" }), async (base) => {
    const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
    const ask: Ask = (sounder, more = {}) => {
      const body = {
        model: "fake",
        prompt: "x".repeat(60),
        max_tokens: 12,
        seed: 1,
        ignore_eos: true,
        return_token_ids: true,
        ...(sounder === undefined ? {} : { sounder }),
        ...more,
      };
      return openai.completions.create(body as OpenAI.CompletionCreateParamsNonStreaming);
    };
    await use(ask, base, openai);
  });
  await service.close();
  assertEquals(engine.violations, []);
}

const tokensOf = (answer: Json): number[] => answer.choices[0].token_ids;

Deno.test("openai: requests choose how they attend, and usage says how they did", async () => {
  await asking(SKETCHES, async (ask) => {
    const { usage: { sounder } } = await ask();
    assertEquals([sounder.attention, sounder.cached_tokens], ["sketch", 0]);
    // The fake engine reads half of the rows; the first token comes from the exact prompt.
    const lengths = Array.from({ length: 11 }, (_, i) => 61 + i);
    const total = lengths.reduce((sum, length) => sum + length);
    assertEquals([sounder.rows_read, sounder.rows_total], [total / 2, total]);
    const inverse = lengths.reduce((sum, length) => sum + 2 ** -(length % 8), 0);
    assertEquals(sounder.effective_samples, Number((11 / inverse).toPrecision(6)));
    const squares = lengths.reduce((sum, length) => sum + 4 ** -(length % 4), 0);
    assertEquals(sounder.standard_error, Number(Math.sqrt(squares / 11).toPrecision(6)));
    assertEquals("verify_error" in sounder, false);

    const exact = (await ask({ attention: "full" })).usage.sounder;
    assertEquals([exact.attention, exact.rows_read, exact.rows_total], ["full", null, null]);
    assertEquals([exact.effective_samples, exact.standard_error], [null, null]);
    assertEquals((await ask({}, { prompt: "short" })).usage.sounder.attention, "full");
    const short = await ask({ attention: "sketch" }, { prompt: "short" });
    assertEquals(short.usage.sounder.attention, "sketch");
  });
});

Deno.test("openai: the same request gives the same tokens, another seed or budget others", async () => {
  await asking(SKETCHES, async (ask) => {
    const first = tokensOf(await ask({ attention: "sketch", seed: 7 }));
    assertEquals(tokensOf(await ask({ attention: "sketch", seed: 7 })), first);
    assertNotEquals(tokensOf(await ask({ attention: "sketch", seed: 8 })), first);
    assertNotEquals(tokensOf(await ask({ attention: "sketch", seed: 7, budget: 0.5 })), first);
    assertNotEquals(tokensOf(await ask({ attention: "full" })), first);
    // Without a seed of its own, it comes from the request's.
    assertEquals(tokensOf(await ask()), tokensOf(await ask({ attention: "auto" })));
  });
});

Deno.test("openai: a strategy without its index is a 400 that names the flag", async () => {
  await asking(SKETCHES, async (ask) => {
    const refusal = async (attention: string) => {
      const error = await assertRejects(() => ask({ attention }), BadRequestError);
      assertEquals(error.param, "sounder.attention");
      return error.message;
    };
    assertEquals(
      await refusal("lsh"),
      `400 sounder.attention can't be "lsh" here: this server keeps no lsh tables. Start the server ` +
        "with --index lsh:10x150.",
    );
    assert((await refusal("topk")).endsWith("Start the server with --experimental."));
    assert((await refusal("best")).includes('must be one of "auto", "full", "sketch", "lsh"'));
    assert(
      (await refusal("quest")).endsWith("Start the server with --experimental --index quest:16."),
    );
  });
});

Deno.test("openai: prompts of one request attend by their own lengths, and usage adds them up", async () => {
  await asking(SKETCHES, async (ask) => {
    const { usage } = await ask({}, { prompt: ["y".repeat(70), "short"] });
    assertEquals(usage.sounder.attention, "sketch");
    const lengths = Array.from({ length: 11 }, (_, i) => 71 + i);
    assertEquals(usage.sounder.rows_total, lengths.reduce((sum, length) => sum + length));
  });
});

Deno.test("openai: verified tokens are in usage, and health keeps their totals", async () => {
  await asking({ ...SKETCHES, verify: 1 }, async (ask, base) => {
    const before = await (await fetch(`${base}/health`)).json();
    assertEquals(before.verify, { tokens: 0, mean_error: null, largest_error: null });
    const { usage } = await ask();
    const errors = Array.from({ length: 11 }, (_, i) => 2 ** -((61 + i) % 6));
    const mean = errors.reduce((sum, error) => sum + error) / 11;
    assertEquals(usage.sounder.verify_error, Number(mean.toPrecision(6)));
    await ask({ attention: "full" });
    const { verify } = await (await fetch(`${base}/health`)).json();
    assertEquals(verify, { tokens: 11, mean_error: mean, largest_error: 1 });
  });
});

Deno.test("health says nothing of verification where nothing is verified", async () => {
  assertEquals("verify" in await ok(await appOver(new FakeService()).request("/health")), false);
});

Deno.test("when nothing was left to chance there are no effective samples, and no Infinity in JSON", async () => {
  const sampled = {
    tokens: 2,
    rowsRead: 512,
    rowsTotal: 512.123456789,
    inverseSamples: 0,
    squaredError: 0,
    verified: 0,
    verifyError: 0,
  };
  for (const attention of ["sketch", "topk", "quest"] as const) {
    const service = new FakeService(() => [finish(0), done({ attention, sampled })]);
    const { usage } = await ok(
      await post(appOver(service), "/v1/completions", { prompt: "x", max_tokens: 2 }),
    );
    assertEquals(usage.sounder, {
      attention,
      keys_read: 40,
      keys_total: 50,
      rows_read: 512,
      rows_total: 512.123,
      effective_samples: null,
      // The best keys are no sample: what they leave out makes an error that nobody knows.
      standard_error: attention === "sketch" ? 0 : null,
      cached_tokens: 1,
    });
  }
});
