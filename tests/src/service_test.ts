// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { NO_SAMPLED } from "../../src/generate/sampled_usage.ts";
import { ModelService } from "../../src/service.ts";
import { FakeEngine, type FakeOptions } from "../fixtures/fake_engine.ts";
import { FakeText } from "../fixtures/fake_text.ts";
import { collect, failureOf, request, says, summarize } from "../fixtures/requests.ts";

function readyService(options: FakeOptions = {}) {
  const engine = new FakeEngine(options);
  const text = new FakeText();
  const service = new ModelService();
  service.ready({ engine, text, model: { id: "fake", created: 7 } });
  return { service, engine, text };
}

Deno.test("a request goes from prompt to text, finish and usage", async () => {
  const { service, engine } = readyService({ next: says("hi!") });
  const events = await collect(service.generate(request()));
  assertEquals(summarize(events).texts[0], "hi!");
  assertEquals(events.slice(-2), [
    { type: "finish", choice: 0, reason: "stop", stopString: null },
    {
      type: "done",
      usage: {
        promptTokens: 5,
        completionTokens: 4,
        cachedTokens: 0,
        attention: "full",
        keysRead: (5 + 6 + 7 + 8) / 2,
        keysTotal: 5 + 6 + 7 + 8,
        sampled: NO_SAMPLED,
      },
    },
  ]);
  await service.close();
  assertEquals(engine.violations, []);
});

Deno.test("while it loads, a service says how far it is and refuses work with a time to come back", async () => {
  const service = new ModelService();
  service.progress(0.426);
  assertEquals(service.status(), {
    state: "loading",
    progress: 0.426,
    reason: null,
    running: 0,
    waiting: 0,
    kvBlocks: 0,
    kvBlocksFree: 0,
    contexts: 0,
    maxContexts: 0,
    cache: null,
    sessions: null,
    verify: null,
  });
  const failure = failureOf(() => service.generate(request()));
  assertEquals(failure.kind, "unavailable");
  assertEquals(failure.retryAfterSeconds, 2);
  assertEquals(failure.message.includes("42 %"), true);
  assertThrows(() => service.model(), Failure);
  assertThrows(() => service.decode([1]), Failure);
  assertThrows(() => service.tokenBytes(1), Failure);
  await assertRejects(() => service.encodeText("x"), Failure);
  await assertRejects(() => service.encodeChat([{ role: "user", content: "x" }]), Failure);
  await service.close();
});

Deno.test("a service whose model cannot be loaded says why", () => {
  const service = new ModelService();
  service.fail("model.safetensors is cut off.");
  assertEquals(service.status().state, "failed");
  assertEquals(service.status().reason, "model.safetensors is cut off.");
  const failure = failureOf(() => service.generate(request()));
  assertEquals(failure.kind, "unavailable");
  assertEquals(failure.retryAfterSeconds, null);
  assertEquals(failure.message.includes("cut off"), true);
});

Deno.test("a ready service describes its model and its memory", async () => {
  const { service } = readyService({ context: 4096, kvBlocks: 20 });
  assertEquals(service.model(), {
    id: "fake",
    created: 7,
    contextTokens: 2560,
    mostRequests: 80,
    hasChatTemplate: true,
    toolDialect: "hermes",
    vocabulary: 300,
    hidden: 3,
  });
  const status = service.status();
  assertEquals([status.state, status.progress, status.kvBlocksFree], ["ready", 1, 20]);
  await service.close();
});

Deno.test("texts and chats become tokens and back", async () => {
  const { service } = readyService();
  const tokens = await service.encodeText("zwölf");
  assertEquals(service.decode(tokens), "zwölf");
  const chat = await service.encodeChat([{ role: "user", content: "x" }]);
  assertEquals(service.decode(chat), "user: x\n");
  assertEquals(service.tokenBytes(65), Uint8Array.of(65));
  await service.close();
});

Deno.test("tokens that the model doesn't have are named", async () => {
  const { service } = readyService();
  for (const call of [() => service.decode([1, 300]), () => service.tokenBytes(300)]) {
    const failure = failureOf(call);
    assertEquals(failure.kind, "invalid");
    assertEquals(failure.message, "There is no token 300: this model's tokens are 0 to 299.");
  }
  assertThrows(() => service.decode([-1]), Failure);
  assertThrows(() => service.tokenBytes(0.5), Failure);
  await service.close();
});

Deno.test("a draining service refuses new requests and lets the others finish", async () => {
  const { service, engine } = readyService({ next: says("done in time") });
  const running = collect(service.generate(request({ maxTokens: 100 })));
  const drained = service.drain(60_000);
  assertEquals(service.status().state, "draining");
  const failure = failureOf(() => service.generate(request()));
  assertEquals(failure.kind, "unavailable");
  await drained;
  assertEquals(summarize(await running).texts[0], "done in time");
  await service.close();
  assertEquals(engine.usage(), { kvBlocksFree: 64, contexts: 0 });
});

Deno.test("what the cache holds is counted as free, and usage says what of a prompt was there", async () => {
  const { service, engine } = readyService({ next: says("yes") });
  const prompt = Int32Array.from({ length: 300 }, (_, i) => i % 200);
  await collect(service.generate(request({ prompt })));
  const { kvBlocksFree, cache } = service.status();
  assertEquals([kvBlocksFree, engine.usage().kvBlocksFree], [64, 61]);
  assertEquals([cache!.blocks, cache!.contexts, cache!.hits], [3, 1, 0]);
  const again = summarize(await collect(service.generate(request({ prompt }))));
  assertEquals(again.usage!.cachedTokens, 299);
  await service.close();
});

Deno.test("what has not finished when the time to drain is over ends with a failure", async () => {
  const { service, engine } = readyService({
    during: () => new Promise((resolve) => setTimeout(resolve, 1)),
    next: () => 65,
  });
  const running = collect(service.generate(request({ maxTokens: null })));
  const rejected = assertRejects(() => running, Failure, "shutting down");
  await service.drain(5);
  await rejected;
  assertEquals(engine.usage(), { kvBlocksFree: 64, contexts: 0 });
  await service.close();
});

Deno.test("closing ends running requests and closes engine and tokenizer, once", async () => {
  const { service, engine, text } = readyService({ next: () => 65 });
  const running = collect(service.generate(request({ maxTokens: null })));
  const rejected = assertRejects(() => running, Failure, "shutting down");
  await Promise.all([service.close(), service.close()]);
  await rejected;
  assertEquals([engine.closed, text.closed], [true, true]);
  assertEquals(engine.violations, []);
  assertThrows(() => service.generate(request()), Failure);
  assertEquals(service.status().state, "draining");
});

Deno.test("a model that is loaded after the service was closed is handed back", async () => {
  const service = new ModelService();
  await service.close();
  const engine = new FakeEngine();
  assertThrows(
    () => service.ready({ engine, text: new FakeText(), model: { id: "late" } }),
    Failure,
    "draining",
  );
  assertEquals(engine.closed, false);
});

Deno.test("a service whose GPU fails for good says so from then on, and tells its owner", async () => {
  const { service } = readyService({
    next: () => 65,
    failStep: (step) => step === 2 ? new Failure("lost", "The GPU failed.") : null,
  });
  const running = collect(service.generate(request({ maxTokens: null })));
  const sentence = "The GPU failed. The server has to be started again.";
  await assertRejects(() => running, Failure, sentence);
  assertEquals(await service.lost, sentence);
  assertEquals([service.status().state, service.status().reason], ["failed", sentence]);
  const failure = failureOf(() => service.generate(request()));
  assertEquals([failure.kind, failure.message], ["lost", sentence]);
  await service.drain(1000);
  assertEquals(service.status().state, "failed");
  await service.close();
});
