// SPDX-License-Identifier: Apache-2.0
/** What an answer must be, in the words of OpenAI, vLLM and llama.cpp. */
import { assert, assertEquals } from "@std/assert";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];
const schema = { type: "object", properties: { a: { type: "string" } } };

async function formatsOf(fields: Record<string, unknown>): Promise<(FormatRequest | null)[]> {
  const service = new FakeService();
  await ok(await post(appOver(service), CHAT, { messages, ...fields }));
  await ok(await post(appOver(service), "/v1/completions", { prompt: "hi", ...fields }));
  return service.requests.map(({ format }) => format ?? null);
}

Deno.test("every known way to ask for a format, in chat and in completions", async () => {
  const loose = { kind: "schema", schema, strict: false };
  const strict = { kind: "schema", schema, strict: true };
  const regex = { kind: "regex", regex: "a+" };
  const grammar = { kind: "grammar", grammar: 'root ::= "a"' };
  const cases: [Record<string, unknown>, FormatRequest["format"] | null, string?][] = [
    [{}, null],
    [{ response_format: { type: "text" } }, null],
    [{ response_format: null, grammar: "", guided_json: null }, null],
    [{ response_format: { type: "json_object" } }, { kind: "json" }, "response_format.type"],
    [
      { response_format: { type: "json_object", schema } },
      loose as FormatRequest["format"],
      "response_format.schema",
    ],
    ...[true, false].map((flag): [Record<string, unknown>, FormatRequest["format"], string] => [
      {
        response_format: {
          type: "json_schema",
          json_schema: { name: "x", description: "y", strict: flag, schema },
        },
      },
      (flag ? strict : loose) as FormatRequest["format"],
      "response_format.json_schema.schema",
    ]),
    [
      { response_format: { type: "grammar", grammar: 'root ::= "a"' } },
      grammar as FormatRequest["format"],
      "response_format.grammar",
    ],
    [
      { response_format: { type: "regex", value: "a+" } },
      regex as FormatRequest["format"],
      "response_format.regex",
    ],
    [
      { structured_outputs: { json: schema } },
      loose as FormatRequest["format"],
      "structured_outputs.json",
    ],
    [
      { structured_outputs: { regex: "a+" } },
      regex as FormatRequest["format"],
      "structured_outputs.regex",
    ],
    [
      { structured_outputs: { choice: ["a", "b"] } },
      { kind: "choice", texts: ["a", "b"] },
      "structured_outputs.choice",
    ],
    [
      { structured_outputs: { json_object: true } },
      { kind: "json" },
      "structured_outputs.json_object",
    ],
    [{ guided_json: JSON.stringify(schema) }, loose as FormatRequest["format"], "guided_json"],
    [{ guided_regex: "a+" }, regex as FormatRequest["format"], "guided_regex"],
    [{ guided_choice: ["a"] }, { kind: "choice", texts: ["a"] }, "guided_choice"],
    [{ guided_grammar: 'root ::= "a"' }, grammar as FormatRequest["format"], "guided_grammar"],
    [{ grammar: 'root ::= "a"' }, grammar as FormatRequest["format"], "grammar"],
    [{ json_schema: schema }, loose as FormatRequest["format"], "json_schema"],
  ];
  for (const [fields, format, param] of cases) {
    const expected = format === null ? null : { format, param: param! };
    assertEquals(await formatsOf(fields), [expected, expected], JSON.stringify(fields));
  }
});

Deno.test("formats that make no sense are refused with the field", async () => {
  const cases: [Record<string, unknown>, string, string][] = [
    [{ response_format: "json" }, "response_format", "must be an object"],
    [{ response_format: {} }, "response_format.type", "is missing"],
    [{ response_format: { type: "xml" } }, "response_format.type", '"json_schema"'],
    [{ response_format: { type: "json_schema" } }, "response_format.json_schema", "is missing"],
    [{ response_format: { type: "regex" } }, "response_format.regex", "is missing"],
    [{ guided_regex: "a", grammar: "b" }, "grammar", "guided_regex both say"],
    [
      { response_format: { type: "json_object" }, guided_choice: ["a"] },
      "guided_choice",
      "response_format.type both say",
    ],
    [{ structured_outputs: { json: {}, regex: "a" } }, "structured_outputs.regex", "both say"],
    [
      { structured_outputs: { structural_tag: "{}" } },
      "structured_outputs.structural_tag",
      "grammar",
    ],
    [{ guided_choice: [] }, "guided_choice", "at least one"],
    [{ guided_choice: [1] }, "guided_choice[0]", "a string"],
    [{ guided_regex: 5 }, "guided_regex", "a string"],
  ];
  for (const [fields, param, sentence] of cases) {
    const error = await failed(
      await post(appOver(new FakeService()), CHAT, { messages, ...fields }),
      400,
    );
    assertEquals(error.param, param, JSON.stringify(fields));
    assert(error.message.includes(sentence), error.message);
  }
});
