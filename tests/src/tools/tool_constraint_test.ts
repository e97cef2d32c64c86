// SPDX-License-Identifier: Apache-2.0
/** Requests with tools through the service over the fake engine: whatever the model says, calls hold. */
import { assert, assertEquals } from "@std/assert";
import { CallParser } from "../../../src/tools/call_parser.ts";
import type { CallRequest } from "../../../src/tools/compile_calls.ts";
import { type DialectName, DIALECTS } from "../../../src/tools/dialect.ts";
import { ModelService } from "../../../src/service.ts";
import { FakeEngine, type FakeOptions } from "../../fixtures/fake_engine.ts";
import { FakeText } from "../../fixtures/fake_text.ts";
import { collect, failureOf, request, says, summarize } from "../../fixtures/requests.ts";

const WEATHER = {
  name: "get_weather",
  description: null,
  parameters: {
    type: "object",
    properties: { city: { type: "string", maxLength: 6 }, days: { type: "integer", maximum: 9 } },
    required: ["city"],
    additionalProperties: false,
  },
  strict: true,
};
const NOW = { name: "now", description: null, parameters: undefined, strict: false };

function asks(fields: Partial<CallRequest> = {}): CallRequest {
  return { dialect: "hermes", tools: [WEATHER, NOW], required: true, several: false, ...fields };
}

function ready(options: FakeOptions = {}): ModelService {
  const service = new ModelService();
  service.ready({ engine: new FakeEngine(options), text: new FakeText(), model: { id: "fake" } });
  return service;
}

async function answer(
  calls: CallRequest,
  options: FakeOptions = {},
  fields: Parameters<typeof request>[0] = {},
) {
  const service = ready(options);
  const events = await collect(service.generate(request({ maxTokens: 600, calls, ...fields })));
  await service.close();
  const { texts, reasons } = summarize(events);
  const parser = new CallParser(DIALECTS[calls.dialect], calls.tools.map(({ name }) => name));
  const parts = [...parser.push(texts[0]!), ...parser.finish()];
  const made: { name: string; arguments: string }[] = [];
  let text = "";
  for (const part of parts) {
    if (part.type === "text") text += part.text;
    else if (part.type === "call") made.push({ name: part.name, arguments: "" });
    else made[part.index]!.arguments += part.text;
  }
  return { text, made, reason: reasons[0], raw: texts[0]! };
}

const DIALECT_NAMES = Object.keys(DIALECTS) as DialectName[];

Deno.test("a required call is made in every dialect, one of the tools with arguments that fit", async () => {
  for (const dialect of DIALECT_NAMES) {
    for (let seed = 0; seed < 6; seed++) {
      const prompt = Int32Array.of(10 + seed, 20);
      const { text, made, reason } = await answer(asks({ dialect }), {}, { prompt });
      assertEquals([text, made.length, reason], ["", 1, "stop"], dialect);
      const args = JSON.parse(made[0]!.arguments);
      if (made[0]!.name === "now") assertEquals(args, {});
      else {
        assert([...args.city].length <= 6 && (args.days ?? 0) <= 9, made[0]!.arguments);
        assertEquals(Object.keys(args).filter((key) => !["city", "days"].includes(key)), []);
      }
    }
  }
});

Deno.test("a model that chooses to talk is left alone", async () => {
  for (const dialect of DIALECT_NAMES) {
    const said = 'Well, <tool> {"name": "x"} is [not] a call.';
    const { text, made } = await answer(asks({ dialect, required: false }), { next: says(said) });
    assertEquals([text, made], [said, []], dialect);
  }
});

Deno.test("once a model has begun a call, the call is finished as it must be", async () => {
  const cases: [DialectName, string][] = [
    ["hermes", 'Let me see. <tool_call>\n{"name": "get_weather", "arguments": {"town"'],
    ["hermes", "<tool_call>I would like to know the weather"],
    ["llama", '{"name": "get_weather", "parameters": {"town": "Paris"}}'],
    ["json", '{"name": "get_weather", "arguments": [1, 2]}'],
  ];
  for (const [dialect, said] of cases) {
    const { made, reason } = await answer(
      asks({ dialect, required: false }),
      { next: says(said) },
    );
    assertEquals([made.length, reason], [1, "stop"], said);
    const { city } = JSON.parse(made[0]!.arguments);
    assert(made[0]!.name === "now" || typeof city === "string", made[0]!.arguments);
  }
});

Deno.test("several calls come when they may, and one when only one may", async () => {
  const call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';
  const said = `${call}\n${call}\n${call}`;
  for (const required of [true, false]) {
    const many = await answer(asks({ required, several: true }), { next: says(said) });
    assertEquals(many.made.length, 3);
    const one = await answer(asks({ required, several: false }), { next: says(said) });
    assertEquals([one.made.length, one.reason], [1, "stop"]);
  }
});

Deno.test("a format binds the answer where it isn't a call", async () => {
  const format = { format: { kind: "regex" as const, regex: "(yes|no)!" }, param: "guided_regex" };
  const calls = asks({ required: false });
  const free = await answer(calls, { next: says("yes, of course") }, { format });
  assertEquals([free.text, free.made], ["yes!", []]);
  const called = await answer(calls, {
    next: says('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'),
  }, { format });
  assertEquals([called.text, called.made.length], ["", 1]);
});

Deno.test("keywords that can't be followed are left aside, the rest of the schema holds", async () => {
  const parameters = {
    type: "object",
    properties: {
      a: { type: "integer", minimum: 5, maximum: 9, not: { const: 7 } },
      b: { type: "string", pattern: "^x{2,4}$", minLength: 2 },
      c: { type: "array", items: { type: "boolean" }, uniqueItems: true, maxItems: 3 },
      d: {
        oneOf: [{ type: "number", multipleOf: 3, maximum: 1, minimum: 0 }, { type: "integer" }],
      },
    },
    required: ["a", "b", "c", "d"],
    minProperties: 2,
  };
  for (let seed = 0; seed < 5; seed++) {
    const prompt = Int32Array.of(10 + seed, 20);
    const { made } = await answer(asks({ tools: [{ ...NOW, parameters }] }), {}, { prompt });
    const { a, b, c, d } = JSON.parse(made[0]!.arguments);
    assert(
      Number.isInteger(a) && a >= 5 && a <= 9 && /^x{2,4}$/.test(b) && c.length <= 3,
      made[0]!.arguments,
    );
    assertEquals(typeof d, "number");
  }
});

Deno.test("schemas that can't be used at all bind strict tools only", async () => {
  const hopeless = [
    { type: "object", properties: { a: { $ref: "#/nowhere" } } },
    { type: "object", required: ["a"], additionalProperties: false },
    { type: "object", properties: { a: { enum: ["x".repeat(60_000)] } } },
  ];
  for (const parameters of hopeless) {
    const tools = [{ ...NOW, parameters }];
    const { raw } = await answer(asks({ tools }), {}, { maxTokens: 60 });
    assert(/^<tool_call>\n?\{/.test(raw), raw);
    const failure = failureOf(() =>
      ready().generate(request({ calls: asks({ tools: [{ ...tools[0]!, strict: true }] }) }))
    );
    assertEquals(failure.kind, "invalid");
    assert(failure.param!.startsWith("tools"), failure.message);
  }
  const strict = [{ ...NOW, strict: true, parameters: { properties: { a: { not: {} } } } }];
  const failure = failureOf(() => ready().generate(request({ calls: asks({ tools: strict }) })));
  assertEquals(failure.param, "tools[0].function.parameters");
  assert(failure.message.includes('"not"'), failure.message);
});
