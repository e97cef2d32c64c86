// SPDX-License-Identifier: Apache-2.0
/** The JSON border under mutation: always an answer or an envelope, never a 500. */
import fc from "fast-check";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { FakeService, speak } from "../fixtures/fake_service.ts";
import { appOver, envelope, framesOf, type Json, post } from "./client.ts";

const valid: [path: string, body: Json][] = [
  ["/v1/chat/completions", {
    model: "fake/model",
    messages: [
      { role: "system", content: "s" },
      { role: "user", content: [{ type: "text", text: "hi" }], name: "n" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: '{"a":1}' } }],
      },
      { role: "tool", tool_call_id: "c", content: "x" },
    ],
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    temperature: 0.5,
    top_p: 0.5,
    top_k: 3,
    min_p: 0.1,
    n: 2,
    seed: 5,
    stop: ["a", "b"],
    max_tokens: 5,
    logprobs: true,
    top_logprobs: 3,
    logit_bias: { "5": 1 },
    response_format: { type: "text" },
    tool_choice: "none",
    tools: [{ type: "function", function: { name: "f", parameters: {} } }],
    chat_template_kwargs: { a: 1 },
    sounder: {
      attention: "auto",
      budget: 0.02,
      beta: 0.9,
      seed: 4,
      collisions: 2,
      draws: 0,
    },
  }],
  ["/v1/completions", {
    prompt: ["hi", [1, 2, 3]],
    n: 2,
    best_of: 2,
    echo: true,
    logprobs: 2,
    max_tokens: 4,
    min_tokens: 1,
    stop: "x",
    stop_token_ids: [3],
    return_token_ids: true,
    presence_penalty: 0.5,
    frequency_penalty: -0.5,
    repetition_penalty: 1.1,
    ignore_eos: false,
    skip_special_tokens: true,
    add_special_tokens: true,
    modalities: ["text"],
  }],
  ["/v1/responses", {
    model: "fake/model",
    instructions: "s",
    input: [
      { role: "user", content: [{ type: "input_text", text: "hi" }] },
      { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
      { type: "function_call_output", call_id: "c", output: "x" },
      { type: "reasoning", summary: [] },
    ],
    stream: true,
    max_output_tokens: 5,
    top_logprobs: 2,
    include: ["message.output_text.logprobs"],
    metadata: { a: "b" },
    text: { format: { type: "text" } },
    truncation: "auto",
  }],
  ["/v1/messages", {
    model: "fake/model",
    max_tokens: 5,
    system: [{ type: "text", text: "s" }],
    messages: [
      { role: "user", content: [{ type: "text", text: "hi" }] },
      { role: "assistant", content: "well" },
    ],
    stream: true,
    stop_sequences: ["a"],
    top_k: 3,
    thinking: { type: "disabled" },
  }],
  ["/v1/embeddings", { input: ["hi", [1, 2]], encoding_format: "base64", dimensions: 2 }],
  ["/v1/messages/count_tokens", { messages: [{ role: "user", content: "hi" }] }],
  ["/tokenize", { prompt: "hi", add_special_tokens: true, with_pieces: true }],
  ["/tokenize", { messages: [{ role: "user", content: "hi" }], continue_final_message: true }],
  ["/detokenize", { tokens: [1, 2, 3] }],
];

/** Values that break readers. */
const strange = fc.oneof(
  fc.constantFrom<Json>(
    ...[null, true, false, 0, -0, -1, 1.5, 1e308, -1e308, 2 ** 31, 2 ** 53, 2 ** 63, 5e-324],
    ...["", "\ud800", "\u0000", "🐗", "<|im_end|>", "__proto__", "NaN", "none", "text", "user"],
    ...[[], {}, [[]], [null], { type: "text" }, { role: "user" }, ["a", 1], [[1], "b"], [2, -1]],
  ),
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer(),
  fc.double(),
  fc.string({ unit: "binary" }),
);

const keys = fc.oneof(
  fc.constantFrom("__proto__", "constructor", "toString", "", "0", "-1", "messages", "prompt", "n"),
  fc.constantFrom("tools", "functions", "suffix", "audio", "guided_json", "bad_words", "grammar"),
  fc.string(),
);

/** Every place in the value that holds something. */
function places(value: Json, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [path];
  const inner = Object.entries(value).flatMap(([key, child]) => places(child, [...path, key]));
  return path.length === 0 ? inner : [path, ...inner];
}

type Mutation = { at: number; how: "replace" | "remove" | "add"; key: string; value: Json };

const mutations = fc.array(
  fc.record<Mutation>({
    at: fc.nat(),
    how: fc.constantFrom("replace", "remove", "add"),
    key: keys,
    value: strange,
  }),
  { minLength: 1, maxLength: 4 },
);

function mutate(body: Json, changes: readonly Mutation[]): Json {
  const mutated = structuredClone(body);
  for (const { at, how, key, value } of changes) {
    const all = places(mutated);
    if (all.length === 0) break;
    const path = all[at % all.length]!;
    const parent = path.slice(0, -1).reduce((inner, step) => inner[step], mutated);
    const last = path.at(-1)!;
    if (how === "remove") delete parent[last];
    else if (how === "replace") parent[last] = structuredClone(value);
    else {
      // A copy: added to itself, a constant of the arbitrary would become a circle.
      const own = { value: structuredClone(value), enumerable: true, configurable: true };
      Object.defineProperty(parent, key, { ...own, writable: true });
    }
  }
  return mutated;
}

/** How streams end that don't end with [DONE]. */
const LAST_FRAMES: Record<string, RegExp> = {
  "/v1/responses": /^event: response\.completed\n/,
  "/v1/messages": /^event: message_stop\n/,
};

/** The answer is a success or an envelope with a 4xx. */
async function check(path: string, body: string, app: ReturnType<typeof appOver>): Promise<number> {
  const response = await post(app, path, body);
  const text = await response.text();
  if (response.status === 200) {
    if (response.headers.get("content-type") === "text/event-stream") {
      assertMatch(framesOf(text).at(-1)!, LAST_FRAMES[path] ?? /^data: \[DONE\]$/, body);
    } else {
      JSON.parse(text);
    }
  } else {
    assert(
      response.status >= 400 && response.status < 500,
      `${response.status} for ${body}: ${text}`,
    );
    const error = JSON.parse(text);
    if (path.startsWith("/v1/messages")) assertEquals(error.type, "error", body);
    else envelope(error);
  }
  return response.status;
}

Deno.test("5,000 mutations of valid requests get an answer or an envelope", async () => {
  const app = appOver(new FakeService(speak(["a"])), { pingSeconds: 0 });
  const seen = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(fc.nat(valid.length - 1), mutations, async (which, changes) => {
      const [path, body] = valid[which]!;
      const status = await check(path, JSON.stringify(mutate(body, changes)), app);
      seen.set(status, (seen.get(status) ?? 0) + 1);
    }),
    { numRuns: 5000, seed: 20_260 },
  );
  // Neither side may be empty, or the mutations test nothing.
  assert((seen.get(200) ?? 0) > 200 && (seen.get(400) ?? 0) > 1000, JSON.stringify([...seen]));
});

Deno.test("2,000 texts with bytes cut, doubled and replaced get an answer or an envelope", async () => {
  const app = appOver(new FakeService(speak(["a"])), { pingSeconds: 0 });
  await fc.assert(
    fc.asyncProperty(
      fc.nat(valid.length - 1),
      fc.array(
        fc.tuple(fc.nat(), fc.nat(8), fc.constantFrom(...'{}[]",:\\0e-\u0000'), fc.boolean()),
        {
          minLength: 1,
          maxLength: 3,
        },
      ),
      async (which, edits) => {
        const [path, body] = valid[which]!;
        let text = JSON.stringify(body);
        for (const [at, length, insert, cut] of edits) {
          const from = at % text.length;
          text = text.slice(0, from) + insert.repeat(cut ? 1 : 2) + text.slice(from + length);
          if (text.length === 0) break;
        }
        await check(path, text, app);
      },
    ),
    { numRuns: 2000, seed: 20_261 },
  );
});

Deno.test("for any split into events the streamed text is the whole answer's text", async () => {
  const splits = fc.array(fc.tuple(fc.nat(2), fc.string({ unit: "grapheme" })), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(splits, fc.boolean(), async (events, chat) => {
      const service = new FakeService(() => [
        ...events.map(([choice, text]) => ({ type: "text" as const, choice, text, tokens: [] })),
        ...[0, 1, 2].map((choice) => ({
          type: "finish" as const,
          choice,
          reason: "stop" as const,
          stopString: null,
        })),
        ...speak([])({ n: 0, prompt: new Int32Array(1) } as never) as Iterable<never>,
      ]);
      const app = appOver(service);
      const path = chat ? "/v1/chat/completions" : "/v1/completions";
      const body = { n: 3, prompt: "hi", messages: [{ role: "user", content: "hi" }] };
      const whole = JSON.parse(await (await post(app, path, body)).text());
      const stream = await (await post(app, path, { ...body, stream: true })).text();
      const texts = ["", "", ""];
      for (const frame of framesOf(stream)) {
        if (!frame.startsWith("data: {")) continue;
        const [choice] = JSON.parse(frame.slice(6)).choices;
        texts[choice.index] += chat ? choice.delta.content ?? "" : choice.text;
      }
      const wholes = whole.choices.map((choice: Json) =>
        chat ? choice.message.content : choice.text
      );
      assertEquals(texts, wholes);
    }),
    { numRuns: 300, seed: 20_262 },
  );
});
