// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { dialectOf } from "../../../src/tools/dialect.ts";
import { withInstructions } from "../../../src/tools/instructions.ts";

Deno.test("the dialect is read off the chat template", () => {
  const tools = "{% if tools %}{{ tools | tojson }}{% endif %}";
  assertEquals(dialectOf(null), "json");
  assertEquals(dialectOf("{{ messages[0].content }} <tool_call>"), "json");
  assertEquals(dialectOf(`${tools}<tool_call>\n{"name": <function-name>}\n</tool_call>`), "hermes");
  assertEquals(dialectOf(`${tools}[AVAILABLE_TOOLS][/AVAILABLE_TOOLS][TOOL_CALLS]`), "mistral");
  assertEquals(dialectOf(`${tools}[TOOL_CALLS]name[ARGS]`), "mistral_args");
  assertEquals(dialectOf(`${tools}<|python_tag|>`), "llama");
  assertEquals(
    dialectOf(`${tools}{"name": function name, "parameters": dictionary of argument name}`),
    "llama",
  );
  assertEquals(dialectOf(`${tools}<|something_new|>`), "json");
});

Deno.test("where the template shows no tools, the messages do", () => {
  const tools = [{ type: "function", function: { name: "now", parameters: { type: "object" } } }];
  const call = { id: "1", type: "function", function: { name: "now", arguments: { a: 1 } } };
  const messages = withInstructions([
    { role: "system", content: "Be brief." },
    { role: "user", content: "What time is it?" },
    { role: "assistant", content: "", tool_calls: [call] },
    { role: "tool", content: "12:00", tool_call_id: "1" },
  ], tools);
  assertEquals(messages.map(({ role }) => role), ["system", "user", "assistant", "user"]);
  assert(messages[0]!.content.startsWith("Be brief.\n\nYou can call functions."));
  assert(messages[0]!.content.endsWith('{"name":"now","parameters":{"type":"object"}}'));
  assertEquals(messages[2]!.content, '{"name":"now","arguments":{"a":1}}');
  assertEquals(messages[3]!.content, "Result of the call 1:\n12:00");
  assertEquals(withInstructions([{ role: "user", content: "a" }], tools)[0]!.role, "system");
});
