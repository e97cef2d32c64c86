// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes } from "@std/assert";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const messages = [{ role: "user", content: "hi" }];

Deno.test("/tokenize takes vLLM's prompt: BOS unless told otherwise", async () => {
  const app = appOver(new FakeService());
  assertEquals(await ok(await post(app, "/tokenize", { model: "fake/model", prompt: "hi" })), {
    count: 3,
    max_model_len: 4096,
    tokens: [256, 104, 105],
    token_strs: null,
  });
  const bare = { prompt: "hi", add_special_tokens: false, return_token_strs: true };
  const answer = await ok(await post(app, "/tokenize", bare));
  assertEquals([answer.tokens, answer.token_strs], [[104, 105], ["h", "i"]]);
});

Deno.test("/tokenize takes llama.cpp's content: pieces are texts, or bytes where they are none", async () => {
  const app = appOver(new FakeService());
  const answer = await ok(await post(app, "/tokenize", { content: "é<s>", with_pieces: true }));
  assertEquals(answer.tokens, [
    { id: 195, piece: [195] },
    { id: 169, piece: [169] },
    { id: 256, piece: "<s>" },
  ]);
  const text = await ok(await post(app, "/tokenize", { content: "<s>", parse_special: false }));
  assertEquals(text.count, 3);
  const bos = await ok(await post(app, "/tokenize", { content: "", add_special: true }));
  assertEquals(bos.tokens, [256]);
});

Deno.test("/tokenize takes messages and the template's options", async () => {
  const service = new FakeService();
  const app = appOver(service);
  const answer = await ok(await post(app, "/tokenize", { messages, add_generation_prompt: false }));
  assertEquals(answer.count, 9);
  assertEquals(service.chats[0]!.options, {
    addGenerationPrompt: false,
    continueFinalMessage: false,
  });
  service.info = { ...service.info, hasChatTemplate: false };
  assertEquals((await failed(await post(app, "/tokenize", { messages }), 400)).param, "messages");
});

Deno.test("/tokenize without anything to tokenize says what it takes", async () => {
  const error = await failed(await post(appOver(new FakeService()), "/tokenize", {}), 400);
  assertStringIncludes(error.message, "prompt, content or messages");
});

Deno.test("/detokenize returns both names and keeps special tokens", async () => {
  const app = appOver(new FakeService());
  const answer = await ok(await post(app, "/detokenize", { tokens: [256, 195, 169] }));
  assertEquals(answer, { prompt: "<s>é", content: "<s>é" });
  assertEquals((await ok(await post(app, "/detokenize", { tokens: [] }))).prompt, "");
});

Deno.test("/detokenize names the token that is wrong", async () => {
  const app = appOver(new FakeService());
  const cases: [unknown, string][] = [
    [undefined, "tokens"],
    ["1", "tokens"],
    [[1, 260], "tokens[1]"],
    [[1, "2"], "tokens[1]"],
    [Array(2 ** 20 + 1).fill(0), "tokens"],
  ];
  for (const [tokens, param] of cases) {
    assertEquals((await failed(await post(app, "/detokenize", { tokens }), 400)).param, param);
  }
});

Deno.test("/tokenizer_info names the special tokens and the template", async () => {
  assertEquals(await ok(await appOver(new FakeService()).request("/tokenizer_info")), {
    bos_token: "<s>",
    eos_token: "</s>",
    chat_template: "{{ messages }}",
    model_max_length: 4096,
  });
});
