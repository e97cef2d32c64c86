// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type AnswerPart, CallParser } from "../../../src/tools/call_parser.ts";
import { type DialectName, DIALECTS } from "../../../src/tools/dialect.ts";

const NAMES = ["get_weather", "send_mail", "now"];

/** What an answer comes to: its text, and calls with their arguments. */
interface Read {
  text: string;
  calls: [string, string][];
}

function read(dialect: DialectName, pieces: readonly string[]): Read {
  const parser = new CallParser(DIALECTS[dialect], NAMES);
  const result: Read = { text: "", calls: [] };
  const take = (parts: AnswerPart[]) => {
    for (const part of parts) {
      if (part.type === "text") result.text += part.text;
      else if (part.type === "call") {
        assertEquals(part.index, result.calls.length);
        result.calls.push([part.name, ""]);
      } else result.calls[part.index]![1] += part.text;
    }
  };
  for (const piece of pieces) take(parser.push(piece));
  take(parser.finish());
  assertEquals(parser.calls, result.calls.length);
  return result;
}

/** Whole, cut in two at every place, and character by character: always the same. */
function assertReads(dialect: DialectName, answer: string, expected: Read): void {
  assertEquals(read(dialect, [answer]), expected, answer);
  assertEquals(read(dialect, [...answer]), expected, `${answer} by characters`);
  for (let at = 1; at < answer.length; at++) {
    const pieces = [answer.slice(0, at), answer.slice(at)];
    assertEquals(read(dialect, pieces), expected, `${answer} cut at ${at}`);
  }
}

const paris: [string, string] = ["get_weather", '{"city": "Paris"}'];

Deno.test("Hermes and Qwen: calls between tags, with text before them", () => {
  const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>';
  assertReads("hermes", call, { text: "", calls: [paris] });
  assertReads("hermes", `Let me look.\n${call}`, { text: "Let me look.", calls: [paris] });
  assertReads("hermes", `${call}\n${call}\n`, { text: "", calls: [paris, paris] });
  assertReads("hermes", `${call}\nDone.`, { text: "Done.", calls: [paris] });
  assertReads("hermes", '<tool_call>{"arguments": {"a": [1, "}"]}, "name": "now"}</tool_call>', {
    text: "",
    calls: [["now", '{"a": [1, "}"]}']],
  });
  assertReads("hermes", '<tool_call>{"name": "now"}</tool_call>', {
    text: "",
    calls: [["now", "{}"]],
  });
  const quoted = '{"name": "send_mail", "arguments": "{\\"to\\": \\"a\\\\\\"b\\"}", "id": 3}';
  assertReads("hermes", `<tool_call>${quoted}</tool_call>`, {
    text: "",
    calls: [["send_mail", '{"to": "a\\"b"}']],
  });
  const nasty = '{"t": "</tool_call> \\" } é日😀 \\\\"}';
  assertReads("hermes", `<tool_call>{"name":"now","arguments":${nasty}}</tool_call>`, {
    text: "",
    calls: [["now", nasty]],
  });
});

Deno.test("Llama: the answer is the call, with its token in front or without", () => {
  const call = '{"name": "get_weather", "parameters": {"city": "Paris"}}';
  assertReads("llama", call, { text: "", calls: [paris] });
  assertReads("llama", `<|python_tag|>${call}`, { text: "", calls: [paris] });
  assertReads("llama", ` \n${call}; ${call}`, { text: "", calls: [paris, paris] });
  const typed = '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}';
  assertReads("llama", typed, { text: "", calls: [paris] });
});

Deno.test("Mistral: a list behind its token, or names with arguments", () => {
  const object = '{"name": "get_weather", "arguments": {"city": "Paris"}}';
  assertReads("mistral", `[TOOL_CALLS] [${object}]`, { text: "", calls: [paris] });
  assertReads("mistral", `I'll see.[TOOL_CALLS][${object}, ${object}]`, {
    text: "I'll see.",
    calls: [paris, paris],
  });
  const named = 'get_weather[ARGS]{"city": "Paris"}';
  assertReads("mistral_args", `[TOOL_CALLS]${named}`, { text: "", calls: [paris] });
  assertReads("mistral_args", `Hm. [TOOL_CALLS]${named}[TOOL_CALLS]now[ARGS]{}`, {
    text: "Hm.",
    calls: [paris, ["now", "{}"]],
  });
});

Deno.test("plain JSON: objects line by line, or a list", () => {
  const call = '{"name": "get_weather", "arguments": {"city": "Paris"}}';
  assertReads("json", call, { text: "", calls: [paris] });
  assertReads("json", `${call}\n${call}\n`, { text: "", calls: [paris, paris] });
  assertReads("json", `[${call}, ${call}]`, { text: "", calls: [paris, paris] });
});

Deno.test("what only looks like a call stays text", () => {
  const same = (dialect: DialectName, answer: string) =>
    assertReads(dialect, answer, { text: answer, calls: [] });
  same("hermes", "The tag <tool_call> opens a call.");
  same("hermes", "a <b and <tool_cal and <tool_call");
  same("hermes", '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>');
  same("hermes", '<tool_call>{"arguments": {}}</tool_call>');
  same("hermes", '{"name": "get_weather", "arguments": {}}');
  same("hermes", '<tool_call>{"name": "get_wea');
  same("hermes", "  spaces stay  ");
  same("llama", '{"city": "Paris", "name": "Ada"}');
  same("llama", '{"name": "Ada", "parameters": {}} is a person');
  same("llama", 'See: {"name": "get_weather", "parameters": {}}');
  same("llama", "<|python_tag|>print(1)");
  same("llama", "{}");
  same("mistral", "[TOOL_CALLS] are what I make");
  same("mistral", '[TOOL_CALLS] [{"name": "unknown", "arguments": {}}]');
  same("json", "[1, 2, 3]");
  same("json", "");
});

Deno.test("a real call behind one that wasn't is found", () => {
  const call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>';
  assertReads("hermes", `Write <tool_call> like this: ${call}`, {
    text: "Write <tool_call> like this:",
    calls: [["now", "{}"]],
  });
});

Deno.test("a call that was cut keeps what came of its arguments", () => {
  assertReads("hermes", '<tool_call>{"name": "now", "arguments": {"a": "b', {
    text: "",
    calls: [["now", '{"a": "b']],
  });
});

Deno.test("arguments are told as they come, not when they are complete", () => {
  const parser = new CallParser(DIALECTS.hermes, NAMES);
  parser.push('<tool_call>\n{"name": "now", "arguments": {"a');
  assertEquals(parser.push('": "some'), [{ type: "arguments", index: 0, text: '": "some' }]);
  assertEquals(parser.push(' text"'), [{ type: "arguments", index: 0, text: ' text"' }]);
});

Deno.test("text goes on as it comes, but for what may be the start of a call", () => {
  const parser = new CallParser(DIALECTS.hermes, NAMES);
  assertEquals(parser.push("Hello <"), [{ type: "text", text: "Hello" }]);
  assertEquals(parser.push("b> x"), [{ type: "text", text: " <b> x" }]);
});

Deno.test("texts and calls in any order come out as they went in, whatever the pieces", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 })
    .map((text) => `x${text.replaceAll("<", "(")}<t`);
  const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 });
  const call = fc.tuple(fc.constantFrom(...NAMES), object, fc.constantFrom(0, 1, 2));
  const cuts = fc.array(fc.nat(400), { maxLength: 12 });
  fc.assert(
    fc.property(fc.array(fc.oneof(text, call), { maxLength: 5 }), cuts, (parts, cuts) => {
      const expected: Read = { text: "", calls: [] };
      let answer = "";
      for (const part of parts) {
        if (typeof part === "string") {
          answer += part;
          expected.text += part;
          continue;
        }
        const [name, args, indent] = part;
        const json = JSON.stringify({ name, arguments: args }, null, indent);
        answer += `<tool_call>${json}</tool_call>`;
        const at = json.indexOf('"arguments":') + '"arguments":'.length;
        expected.calls.push([name, json.slice(at, -1).trim()]);
      }
      const places = [0, ...cuts.map((cut) => cut % (answer.length + 1)), answer.length]
        .toSorted((a, b) => a - b);
      const pieces = places.slice(1).map((place, i) => answer.slice(places[i]!, place));
      assertEquals(read("hermes", pieces), expected);
    }),
    { seed: 1, numRuns: 300 },
  );
});
