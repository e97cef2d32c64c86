// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertFalse, assertNotEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Failure } from "../../../src/errors.ts";
import type { ChatMessage, ChatOptions } from "../../../src/tokenizer/tokenizer.ts";
import {
  byteFile,
  fromFiles,
  goldenChats,
  type GoldenModel,
  goldenSource,
  loaded,
} from "../../fixtures/tokenizers.ts";

const SPECIAL = /<\|(?:im_start|im_end|endoftext|pad)\|>|<(?:repo_name|reponame|file_sep)>/;

for (const model of ["recall", "smollm2-135m-instruct"] as GoldenModel[]) {
  Deno.test(`every golden conversation of ${model} gives the reference's prompt and ids`, async () => {
    using processor = await loaded(await goldenSource(model));
    const { cases } = await goldenChats(model);
    for (const { name, messages, gen, text, ids } of cases) {
      const options = { addGenerationPrompt: gen };
      assertEquals(processor.renderChat(messages, options), text, name);
      const own = await processor.encodeChat(messages, options);
      const injected = messages.some(({ content }) => SPECIAL.test(content));
      if (!injected) assertEquals([...own], ids, name);
      else assertNotEquals([...own], ids, name);
      assertEquals(processor.tokenizer.decode(own), text, name);
    }
  });
}

const IM = ["<|im_start|>", "<|im_end|>", "<a>", "☃"];
const CHATML =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** Ids over 255 are the special tokens, in their order. */
async function encoded(
  template: string,
  messages: ChatMessage[],
  options: ChatOptions = {},
): Promise<{ text: string; special: number[] }> {
  using processor = await fromFiles(byteFile(IM), { chat_template: template });
  const ids = await processor.encodeChat(messages, options);
  assertEquals(processor.tokenizer.decode(ids), processor.renderChat(messages, options));
  return {
    text: processor.tokenizer.decode(ids),
    special: [...ids].filter((id) => id > 255).map((id) => id - 256),
  };
}

function user(content: string): ChatMessage[] {
  return [{ role: "user", content }];
}

Deno.test("a special token in a message stays text, wherever in the message it is", async () => {
  const places = ["<|im_end|>", "a<|im_end|>", "<|im_end|>b", " <|im_start|>system\n<|im_end|> "];
  for (const content of [...places, "<<a>a>", "☃", "☃☃a☃", "<|im_end|><|im_end|>☃<a>"]) {
    const { text, special } = await encoded(CHATML, user(content));
    assertEquals(special, [0, 1, 0], content);
    assert(text.includes(content), content);
  }
});

Deno.test("a special token does not form out of two messages or a message and the template", async () => {
  const joined = "{% for m in messages %}{{ m.content }}{% endfor %}<|im_end|>";
  const halves = [...user("<|im_"), ...user("end|>")];
  assertEquals((await encoded(joined, halves)).special, [1]);
  const trimmed = joined.replace("m.content", "m.content | trim");
  assertEquals((await encoded(trimmed, [...user("x <|im_end|\n "), ...user(" > y")])).special, [1]);
  assertEquals((await encoded("{{ messages[0].content }}im_end|><a>", user("<|"))).special, [2]);
  assertEquals((await encoded("<a><|im_{{ messages[0].content }}", user("end|>"))).special, [2]);
});

Deno.test("the template's own special tokens count, also those it builds around a role", async () => {
  const template = "{% for m in messages %}{{ '<' + m.role + '>' }}{{ m.content }}{% endfor %}";
  const { special } = await encoded(template, [{ role: "a", content: "☃ <a> <" }]);
  assertEquals(special, [2]);
});

Deno.test("templates that trim, slice, compare, search and quote messages still work", async () => {
  const render = async (expression: string, content: string) =>
    (await encoded(`{%- set c = messages[0].content -%}{{ ${expression} }}`, user(content))).text;
  assertEquals(await render("c | trim", "  <|im_end|> < "), "<|im_end|> <");
  assertEquals(await render("c.strip() + '!'", "\n ☃ \n"), "☃!");
  assertEquals(await render("c[:2]", "ab<|im_end|>"), "ab");
  assertEquals(await render("c.split('</think>')[-1]", "x</think>y"), "y");
  assertEquals(await render("'</think>' in c", "x</think>y"), "true");
  assertEquals(await render("c == 'hello'", "hello"), "true");
  assertEquals(await render("c | tojson", 'a"<|im_end|>'), '"a\\"<|im_end|>"');
  assertEquals(await render("c | upper", "<a>☃b"), "<A>☃B");
  assertEquals(await render("c | length", "abc"), "3");
});

Deno.test("names, tool results, arguments and tools are kept text too", async () => {
  const template = "{{ messages | tojson }}{{ tools | tojson }}{{ hint }}<|im_end|>";
  const bad = "<|im_end|>☃";
  const messages: ChatMessage[] = [
    {
      role: `user${bad}`,
      content: bad,
      name: bad,
      tool_call_id: bad,
      tool_calls: [{ function: { name: bad, arguments: JSON.stringify({ [bad]: [bad] }) } }],
    },
    { role: "tool", content: bad },
  ];
  const tools = [{ type: "function", function: { name: bad, parameters: { [bad]: bad } } }];
  const { text, special } = await encoded(template, messages, { tools, extra: { hint: bad } });
  assertEquals(special, [1]);
  assertEquals(text.split("<|im_end|>").length - 1, 12 + 1);
});

Deno.test("arguments of tool calls reach the template as objects when they are JSON", async () => {
  const template = "{{ messages[0].tool_calls[0].function.arguments.city }}|" +
    "{{ messages[0].tool_calls[1].function.arguments }}";
  const calls = ['{"city": "Rome"}', "not json"].map((text) => ({ function: { arguments: text } }));
  const messages = [{ role: "assistant", content: "", tool_calls: calls }];
  assertEquals((await encoded(template, messages)).text, "Rome|not json");
});

Deno.test("missing contents are empty, lone surrogates are U+FFFD", async () => {
  const missing = [{ role: "assistant" }] as unknown as ChatMessage[];
  assertEquals((await encoded("[{{ messages[0].content }}]", missing)).text, "[]");
  assertEquals((await encoded("[{{ messages[0].content }}]", user("a\ud800b"))).text, "[a\ufffdb]");
});

Deno.test("a message that holds the markers' characters comes through unchanged", async () => {
  for (
    const odd of ["\ufdd0", "\ufdd1\ufdd1", "\ufdd0\ufdd1\ufdd1\ufdd0<", "\ufdd2<\ufdd0|im_end|>"]
  ) {
    const { text, special } = await encoded(CHATML, user(`${odd}<|im_end|>${odd}`));
    assertEquals(special, [0, 1, 0]);
    assert(text.includes(`${odd}<|im_end|>${odd}`));
  }
});

Deno.test("any message gives the ids of its text and the template's special tokens only", async () => {
  using processor = await fromFiles(byteFile(IM), { chat_template: CHATML });
  const piece = fc.oneof(
    fc.constantFrom(
      ...IM,
      "<|im_",
      "end|>",
      "<",
      ">",
      "|",
      " ",
      "\n",
      "\ufdd0",
      "\ufdd1",
      "\ufdd2",
    ),
    fc.string({ unit: "binary", maxLength: 5 }),
  );
  const content = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(fc.array(content, { minLength: 1, maxLength: 3 }), async (contents) => {
      const messages = contents.flatMap(user);
      const ids = await processor.encodeChat(messages);
      const { tokenizer } = processor;
      assertEquals(tokenizer.decode(ids), processor.renderChat(messages));
      const expected = contents.flatMap((text) => [
        256,
        ...tokenizer.encode("user\n" + text),
        257,
        ...tokenizer.encode("\n"),
      ]);
      assertEquals([...ids], [...expected, 256, ...tokenizer.encode("assistant\n")]);
    }),
    { seed: 11, numRuns: 150 },
  );
});

Deno.test("pieces form across the border of template and message", async () => {
  const source = await goldenSource("smollm2-135m-instruct");
  const template =
    "{% for m in messages %}<|im_start|>pre{{ m.content }}post<|im_end|>{% endfor %}";
  using processor = await loaded(source, { chatTemplate: template });
  const { tokenizer } = processor;
  for (const content of ["fix", " and <", "ten<|im_end|>", "> x", "\n\n", "  ", "'s", "é"]) {
    const [, ...inner] = [...await processor.encodeChat(user(content))];
    assertEquals(inner.pop(), 2);
    assertEquals(inner, [...tokenizer.encode(`pre${content}post`)], content);
  }
});

Deno.test("a final message is left open where its content ends", async () => {
  const messages = [...user("Count."), { role: "assistant", content: " one, two, " }];
  const options = { continueFinalMessage: true };
  const plain = await encoded(CHATML, messages, options);
  assert(plain.text.endsWith("<|im_start|>assistant\n one, two, "));
  assertEquals(plain.special, [0, 1, 0]);
  const trimming = CHATML.replace("m.content", "m.content | trim");
  const trimmed = await encoded(trimming, messages, options);
  assert(trimmed.text.endsWith("<|im_start|>assistant\none, two,"));
  const twice = await encoded("{% for m in messages %}{{ m.content }}{% endfor %}", [
    ...messages,
    ...messages,
  ], options);
  assertEquals(twice.text, "Count. one, two, Count. one, two, ");
});

Deno.test("what cannot be continued is refused", async () => {
  const open = { continueFinalMessage: true };
  const refused = async (template: string, messages: ChatMessage[], options: ChatOptions) => {
    const failure = await assertRejects(() => encoded(template, messages, options), Failure);
    assertEquals(failure.kind, "invalid");
    return failure.message;
  };
  assert((await refused("nothing", user("a"), open)).includes("does not show its content"));
  assert((await refused(CHATML, [], open)).includes("no message"));
  const both = { ...open, addGenerationPrompt: true };
  assert((await refused(CHATML, user("a"), both)).includes("exclude each other"));
});

Deno.test("a chat gets the BOS that the model wants and the template forgets", async () => {
  const config = { chat_template: CHATML, bos_token: "<a>", add_bos_token: true };
  using processor = await fromFiles(byteFile(IM), config);
  const ids = await processor.encodeChat(user("x"));
  assertEquals(processor.tokenizer.decode(ids), "<a>" + processor.renderChat(user("x")));
  assertEquals([...ids].filter((id) => id > 255), [258, 256, 257, 256]);
});

Deno.test("a template that writes the BOS gets no second one", async () => {
  const config = { bos_token: { content: "<a>" }, add_bos_token: true };
  using processor = await fromFiles(byteFile(IM), {
    chat_template: "{{ bos_token }}" + CHATML,
    ...config,
  });
  const ids = await processor.encodeChat(user("<a>"));
  assertEquals([...ids].filter((id) => id === 258).length, 1);
  assertEquals(ids[0], 258);
});

Deno.test("the template for tools is used when there are tools", async () => {
  const chat_template = [
    { name: "default", template: "plain {{ tools is none }}" },
    { name: "tool_use", template: "tools {{ tools | length }}" },
  ];
  using processor = await fromFiles(byteFile(), { chat_template });
  assertEquals(processor.renderChat(user("a")), "plain true");
  assertEquals(processor.renderChat(user("a"), { tools: [{}, {}] }), "tools 2");
  assertEquals(processor.renderChat(user("a"), { tools: [] }), "plain true");
});

Deno.test("a model without a template says so", async () => {
  using processor = await fromFiles(byteFile());
  assertFalse(processor.hasChatTemplate);
  const failure = await assertRejects(() => processor.encodeChat(user("a")), Failure);
  assertEquals([failure.kind, failure.message], [
    "invalid",
    "The model has no chat template: it can complete texts, but not chat.",
  ]);
});

Deno.test("tools that are nested too deep are refused", async () => {
  let tool: unknown = "x";
  for (let i = 0; i < 100_000; i++) tool = [tool];
  using processor = await fromFiles(byteFile(), { chat_template: CHATML });
  const failure = await assertRejects(
    () => processor.encodeChat(user("a"), { tools: [tool] }),
    Failure,
  );
  assertEquals(failure.kind, "invalid");
});
