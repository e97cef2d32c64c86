// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects } from "@std/assert";
import { EXACT_POLICY } from "../../src/engine/attention.ts";
import { GREEDY, type StepSequence } from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";
import {
  MOST_UNDELIVERED_TOKENS,
  prepareJob,
  startGeneration,
  TokenTexts,
} from "../../src/generate.ts";
import { Scheduler } from "../../src/scheduler/scheduler.ts";
import type { Generation, GenerationRequest } from "../../src/types.ts";
import { FakeEngine, type FakeOptions } from "../fixtures/fake_engine.ts";
import { hiddenSum } from "../fixtures/fake_model.ts";
import { BYTES, END, SPECIAL } from "../fixtures/fake_text.ts";
import { collect, promptOf, request, says, summarize, type Summary } from "../fixtures/requests.ts";

function setUp(options: FakeOptions = {}) {
  const engine = new FakeEngine(options);
  const scheduler = new Scheduler(engine);
  const context = { scheduler, tokenizer: BYTES, texts: new TokenTexts(BYTES) };
  const generate = (fields: Partial<GenerationRequest> = {}): Generation => {
    const asked = request({ maxTokens: 100, ...fields });
    return startGeneration(
      context,
      asked,
      prepareJob(asked, engine.limits, BYTES.endTokens, EXACT_POLICY),
    );
  };
  return { engine, scheduler, generate };
}

/** Runs one request against a model, and checks that the engine was used rightly. */
async function answer(
  options: FakeOptions,
  fields: Partial<GenerationRequest> = {},
): Promise<Summary> {
  const { engine, scheduler, generate } = setUp(options);
  const events = await collect(generate(fields));
  await scheduler.close();
  assertEquals(engine.violations, []);
  assertEquals(engine.usage().contexts, 0);
  return summarize(events, fields.n);
}

/** Ends of a request: text, reason, stop string and completion tokens. */
function endOf({ texts, reasons, stopStrings, usage }: Summary) {
  return [texts[0], reasons[0], stopStrings[0], usage?.completionTokens];
}

Deno.test("an end token ends the text, is no part of it and counts as a token", async () => {
  const end = endOf(await answer({ next: says("wild") }, { skipSpecialTokens: false }));
  assertEquals(end, ["wild", "stop", null, 5]);
});

Deno.test("an answer ends at max_tokens, even in the midst of a character", async () => {
  const next = says("wild 🐗 pigs");
  assertEquals(endOf(await answer({ next }, { maxTokens: 4 })), ["wild", "length", null, 4]);
  assertEquals(endOf(await answer({ next }, { maxTokens: 7 })), ["wild \uFFFD", "length", null, 7]);
});

Deno.test("an open answer goes to the end of the context", async () => {
  const end = endOf(await answer({ next: () => 97, context: 300 }, { maxTokens: null }));
  assertEquals(end, ["a".repeat(295), "length", null, 295]);
});

Deno.test("a stop token ends like an end token", async () => {
  const end = endOf(await answer({ next: says("wild pigs") }, { stopTokens: [32] }));
  assertEquals(end, ["wild", "stop", null, 5]);
});

Deno.test("with ignore_eos end tokens are text like others, and stop tokens still end it", async () => {
  const tokens = [97, END, 98, SPECIAL, 99, 100, 101];
  const next: FakeOptions["next"] = (known, prompt) => tokens[known.length - prompt]!;
  const fields = { ignoreEos: true, stopTokens: [101] };
  assertEquals(endOf(await answer({ next }, fields)), ["abcd", "stop", null, 7]);
  const shown = await answer({ next }, { ...fields, skipSpecialTokens: false });
  assertEquals(shown.texts, ["a<|end|>b<|special|>cd"]);
});

Deno.test("text is cut before a stop string, which may run across tokens", async () => {
  const next = says("one two three");
  assertEquals(endOf(await answer({ next }, { stop: ["two"] })), ["one ", "stop", "two", 7]);
  assertEquals(endOf(await answer({ next }, { stop: ["o th"] })), ["one tw", "stop", "o th", 10]);
  assertEquals(endOf(await answer({ next }, { stop: ["o", "one"] })), ["", "stop", "o", 1]);
});

Deno.test("a beginning of a stop string that isn't completed comes out at the end", async () => {
  const end = endOf(await answer({ next: says("a b##") }, { stop: ["###"] }));
  assertEquals(end, ["a b##", "stop", null, 6]);
});

Deno.test("a stop string that the last allowed token completes is the reason", async () => {
  const end = endOf(await answer({ next: says("abcd") }, { stop: ["cd"], maxTokens: 4 }));
  assertEquals(end, ["ab", "stop", "cd", 4]);
});

Deno.test("what a choice made beyond its stop string is thrown away and its context freed", async () => {
  const { engine, scheduler, generate } = setUp({ next: says("ab.cdefgh") });
  const events = await collect(generate({ stop: ["."], logprobs: 0 }));
  const { texts, tokens, usage } = summarize(events);
  assertEquals([texts, tokens[0]!.length, usage?.completionTokens], [["ab"], 2, 3]);
  await scheduler.close();
  assertEquals([engine.cancels, engine.usage().contexts, engine.violations], [1, 0, []]);
});

Deno.test("before min_tokens no end token is drawn and no stop string ends the text", async () => {
  // Where an end token must not be drawn, the fake model draws the next token: 257.
  const end = endOf(await answer({ next: says("ab") }, { minTokens: 5, maxTokens: 20 }));
  assertEquals(end, ["ab", "stop", null, 6]);
  const stop = ["ab"];
  const next = says("ababab");
  assertEquals(endOf(await answer({ next }, { stop, minTokens: 2 })), ["", "stop", "ab", 2]);
  assertEquals(endOf(await answer({ next }, { stop, minTokens: 3 })), ["ab", "stop", "ab", 4]);
});

Deno.test("an end token that is drawn before min_tokens nevertheless doesn't end the text", async () => {
  const vocabulary = 257;
  // Every token is an end token or a stop token, so that a forbidden one must be drawn.
  const stopTokens = Array.from({ length: 256 }, (_, token) => token);
  const fields = { minTokens: 3, stopTokens };
  const end = endOf(await answer({ next: () => 97, vocabulary }, fields));
  assertEquals(end, ["aaa", "stop", null, 4]);
});

Deno.test("a request's own bias stays, beside the one that forbids end tokens", async () => {
  const seen: StepSequence["sampling"][] = [];
  const { scheduler, generate } = setUp({
    next: () => END,
    during: (_, sequences) => void seen.push(sequences[0]!.sampling),
  });
  const sampling = { ...GREEDY, logitBias: new Map([[65, 5], [END, 100]]) };
  await collect(generate({ sampling, minTokens: 1 }));
  assertEquals(seen.map((params) => [...params!.logitBias]), [
    [[65, 5], [END, -1e9]],
    [[65, 5], [END, 100]],
  ]);
  await scheduler.close();
});

Deno.test("log-probabilities come with bytes and text of each token and of its alternatives", async () => {
  const { scheduler, generate } = setUp({ next: says("zé") });
  const events = await collect(generate({ logprobs: 2 }));
  const infos = events.flatMap((event) => event.type === "text" ? event.tokens : []);
  assertEquals(infos.map(({ text }) => text), ["z", "\uFFFD", "\uFFFD"]);
  assertEquals(infos.map(({ bytes }) => [...bytes]), [[0x7a], [0xc3], [0xa9]]);
  for (const { logprob, alternatives } of infos) {
    assert(logprob! < 0);
    assertEquals(alternatives.map(({ logprob }) => logprob), [-0.5, -1]);
    for (const { token, bytes, text } of alternatives) {
      assertEquals(bytes, BYTES.tokenBytes(token));
      assertEquals(text, new TextDecoder().decode(bytes));
    }
  }
  await scheduler.close();
});

Deno.test("a scored prompt comes first, and nothing predicts its first token", async () => {
  const prompt = promptOf(700);
  for (const n of [1, 3]) {
    const { scheduler, generate } = setUp({ next: says("ok") });
    const events = await collect(generate({ prompt, n, scorePrompt: 1 }));
    const [first] = events;
    assert(first?.type === "prompt");
    assertEquals(first.tokens.map(({ token }) => token), [...prompt]);
    assertEquals([first.tokens[0]!.logprob, first.tokens[0]!.alternatives], [null, []]);
    for (const { logprob, alternatives } of first.tokens.slice(1)) {
      assert(logprob! < 0);
      assertEquals(alternatives.length, 1);
    }
    assertEquals(events.filter(({ type }) => type === "prompt").length, 1);
    await scheduler.close();
  }
});

Deno.test("a prompt's scores don't depend on the chunks that it runs in", async () => {
  const fields = { prompt: promptOf(90), scorePrompt: 0, maxTokens: 0 };
  const { prompt } = await answer({ maxStepTokens: 1000 }, fields);
  for (const maxStepTokens of [1, 7, 89, 90]) {
    assertEquals((await answer({ maxStepTokens }, fields)).prompt, prompt);
  }
});

Deno.test("with max_tokens 0 the prompt is scored and nothing is generated", async () => {
  for (const n of [1, 2]) {
    const summary = await answer({}, { scorePrompt: 0, maxTokens: 0, n });
    assertEquals(summary.prompt!.length, 5);
    assertEquals(summary.reasons, new Array(n).fill("length"));
    assertEquals(summary.usage!.completionTokens, 0);
  }
  const single = await answer({}, { prompt: promptOf(1), scorePrompt: 0, maxTokens: 0 });
  assertEquals(single.prompt, [null]);
  const unscored = await answer({}, { maxTokens: 0 });
  assertEquals([unscored.prompt, unscored.reasons], [null, ["length"]]);
});

Deno.test("an embedding is the mean over the whole prompt, whatever chunks it runs in", async () => {
  for (const tokens of [1, 2, 300]) {
    const prompt = promptOf(tokens);
    const sum = hiddenSum([...prompt], 0);
    for (const maxStepTokens of [1, 7, 1000]) {
      const fields = { prompt, maxTokens: 0, embed: true };
      const { embedding, usage } = await answer({ maxStepTokens }, fields);
      assertEquals(embedding, sum.map((value) => value / tokens));
      assertEquals([usage!.promptTokens, usage!.completionTokens], [tokens, 0]);
    }
  }
});

Deno.test("choices share the prompt's blocks, differ by their index, and end one by one", async () => {
  const prompt = promptOf(3 * 128 + 1);
  const { engine, scheduler, generate } = setUp({
    next: (tokens, promptTokens, choice) =>
      tokens.length - promptTokens < 2 * choice ? 97 + choice : END,
  });
  const { texts, reasons, usage } = summarize(await collect(generate({ prompt, n: 3 })), 3);
  assertEquals([texts, reasons], [["", "bb", "cccc"], ["stop", "stop", "stop"]]);
  assertEquals([usage!.promptTokens, usage!.completionTokens], [385, 1 + 3 + 5]);
  // Three blocks are shared, and each choice has one of its own.
  assertEquals(engine.peakBlocks, 6);
  const prefilled = engine.steps[0]!.map(({ tokens, samples }) => [tokens, samples]);
  assertEquals(prefilled, [[384, false]]);
  await scheduler.close();
});

Deno.test("choices of a prompt of one token need nothing to share", async () => {
  const { texts } = await answer({ next: says("x") }, { prompt: promptOf(1), n: 2 });
  assertEquals(texts, ["x", "x"]);
});

Deno.test("a reader that doesn't read stops the decoding of its request alone", async () => {
  const { engine, scheduler, generate } = setUp({ next: () => 97 });
  const slow = generate({ maxTokens: 2000 })[Symbol.asyncIterator]();
  const { usage } = summarize(await collect(generate({ maxTokens: 3000 })));
  assertEquals(usage!.completionTokens, 3000);
  const decoded = engine.steps.flat().filter(({ context }) => context === 1).length;
  assert(decoded >= MOST_UNDELIVERED_TOKENS && decoded <= MOST_UNDELIVERED_TOKENS + 3);
  let tokens = 0;
  for (let next = await slow.next(); !next.done; next = await slow.next()) {
    if (next.value.type === "text") tokens += next.value.text.length;
  }
  assertEquals(tokens, 2000);
  await scheduler.close();
});

Deno.test("leaving the loop early cancels the request, and cancelling again does nothing", async () => {
  const { engine, scheduler, generate } = setUp({ next: () => 97 });
  const generation = generate({ maxTokens: null });
  for await (const event of generation) if (event.type === "text") break;
  assertEquals(scheduler.running, 0);
  generation.cancel();
  generation.cancel();
  assertEquals(await collect(generation), []);
  await scheduler.close();
  assertEquals([engine.usage().contexts, engine.violations], [0, []]);
});

Deno.test("a cancelled request gives its waiting reader the end, not an error", async () => {
  const gate = Promise.withResolvers<void>();
  const { scheduler, generate } = setUp({ during: () => gate.promise });
  const generation = generate();
  const reading = collect(generation);
  generation.cancel();
  assertEquals(await reading, []);
  gate.resolve();
  await scheduler.close();
});

Deno.test("a failure reaches the reader once, after the text before it", async () => {
  const { scheduler, generate } = setUp({
    next: says("abcdef"),
    failSequence: (step) => step === 3 ? "not_finite" : null,
  });
  const iterator = generate()[Symbol.asyncIterator]();
  const texts: string[] = [];
  await assertRejects(
    async () => {
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
        if (next.value.type === "text") texts.push(next.value.text);
      }
    },
    Failure,
    "NaN",
  );
  assertEquals(texts, ["a", "b", "c"]);
  assertEquals(await iterator.next(), { done: true, value: undefined });
  await scheduler.close();
});
