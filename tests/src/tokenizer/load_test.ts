// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import {
  byteFile,
  fromFiles,
  ggufMetadata,
  goldenSource,
  loaded,
  sentencePiece,
} from "../../fixtures/tokenizers.ts";

async function refusal(load: () => Promise<Disposable>): Promise<string> {
  const failure = await assertRejects(async () => (await load())[Symbol.dispose](), Failure);
  assertEquals(failure.kind, "model");
  return failure.message;
}

function changed(change: (file: Record<string, Record<string, unknown>>) => void): unknown {
  const file = byteFile();
  change(file as Record<string, Record<string, unknown>>);
  return file;
}

Deno.test("kinds of tokenizers that are not read are named", async () => {
  for (const type of ["Unigram", "WordPiece", "WordLevel"]) {
    const message = await refusal(() => fromFiles(changed((file) => file.model!.type = type)));
    assertStringIncludes(message, `"${type}"`);
  }
  const metadata = new Map<string, unknown>([
    ["tokenizer.ggml.model", "t5"],
    ["tokenizer.ggml.tokens", ["a"]],
  ]);
  assertStringIncludes(await refusal(() => loaded({ kind: "gguf", metadata })), '"t5"');
});

Deno.test("steps that are not supported are named with their place", async () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ normalizer: { type: "Precompiled" } }, 'normalizer "Precompiled"'],
    [{ pre_tokenizer: { type: "UnicodeScripts" } }, 'pre-tokenizer "UnicodeScripts"'],
    [{ decoder: { type: "CTC" } }, 'decoder "CTC"'],
    [{ decoder: { type: "Strip", content: "x", start: 1 } }, 'decoder "Strip"'],
    [{ post_processor: { type: "Odd" } }, 'post-processor "Odd"'],
    [
      { pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
      "expression",
    ],
    [
      {
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [{ type: "ByteLevel" }, { type: "Digits" }],
        },
      },
      "turned the text into bytes",
    ],
  ];
  for (const [change, part] of cases) {
    assertStringIncludes(await refusal(() => fromFiles(byteFile([], change))), part);
  }
});

Deno.test("what is wrong in tokenizer.json is named", async () => {
  const cases: [(file: Record<string, Record<string, unknown>>) => void, string][] = [
    [(file) => delete file.model, "tokenizer.json.model must be an object"],
    [(file) => file.model!.merges = "a b", "tokenizer.json.model.merges must be a list"],
    [(file) => file.model!.merges = [["a", "b"]], "merges[0]"],
    [(file) => file.model!.merges = ["a b c"], "merges[0]"],
    [(file) => file.model!.vocab = { a: -1 }, "vocab.a must be a token id"],
    [(file) => file.model!.vocab = { a: 1e9 }, "1 tokens, but one of them has the id"],
    [(file) => file.model!.vocab = {}, "no tokens"],
    [(file) => file.model!.end_of_word_suffix = "</w>", "end_of_word_suffix"],
    [(file) => file.added_tokens = [{ id: 1 }] as never, "added_tokens[0].content must be a text"],
  ];
  for (const [change, part] of cases) {
    assertStringIncludes(await refusal(() => fromFiles(changed(change))), part);
  }
});

Deno.test("files that are no JSON, or nested without end, are refused", async () => {
  const source = (tokenizerJson: string, tokenizerConfigJson: string | null = null) =>
    loaded({ kind: "huggingface", tokenizerJson, tokenizerConfigJson });
  assertStringIncludes(await refusal(() => source("{")), "tokenizer.json is not valid JSON");
  const valid = JSON.stringify(byteFile());
  assertStringIncludes(await refusal(() => source(valid, "[")), "tokenizer_config.json is not");
  assertStringIncludes(await refusal(() => source(valid, "[]")), "must be an object");
  let step = '{"type":"Lowercase"}';
  for (let i = 0; i < 3000; i++) step = `{"type":"Sequence","normalizers":[${step}]}`;
  const deep = valid.replace("{", `{"normalizer":${step},`);
  await loaded({ kind: "huggingface", tokenizerJson: deep, tokenizerConfigJson: null }).then(
    (processor) => processor[Symbol.dispose](),
    (error) => assertEquals(error.kind, "model"),
  );
});

Deno.test("a template that cannot be parsed stops the load", async () => {
  const config = { chat_template: "{% if %}" };
  assertStringIncludes(await refusal(() => fromFiles(byteFile(), config)), "chat template");
});

Deno.test("a template of its own file overrules the tokenizer's", async () => {
  const config = { chat_template: "from the config" };
  using own = await fromFiles(byteFile(), config, { chatTemplate: "of its own" });
  assertEquals(own.renderChat([]), "of its own");
  using usual = await fromFiles(byteFile(), config, { chatTemplate: null });
  assertEquals(usual.renderChat([]), "from the config");
  using empty = await fromFiles(byteFile(), config, { chatTemplate: " " });
  assertEquals(empty.hasChatTemplate, false);
});

Deno.test("end tokens come from the model's other files and from the tokenizer", async () => {
  const config = { eos_token: { content: "<e>" } };
  using processor = await fromFiles(byteFile(["<e>"]), config, { endTokens: [7, 256] });
  assertEquals(processor.tokenizer.endTokens, [7, 256]);
});

Deno.test("special tokens of tokenizer_config.json count when tokenizer.json lacks them", async () => {
  const config = {
    added_tokens_decoder: { "256": { content: "<x>", special: true } },
    unk_token: "!",
  };
  using processor = await fromFiles(byteFile(), config);
  const { tokenizer } = processor;
  assertEquals(tokenizer.size, 257);
  assertEquals([...tokenizer.encode("<x>", { parseSpecial: true })], [256]);
  assertEquals(tokenizer.isSpecial(33), true);
});

Deno.test("tokens that the model has no rows for", async () => {
  using processor = await fromFiles(byteFile(["<x>", "<y>"]), null, { vocabulary: 257 });
  const { tokenizer } = processor;
  assertEquals(tokenizer.size, 257);
  assertEquals(tokenizer.encode("<x><y>", { parseSpecial: true }).length, 1 + 3);
  const load = () => fromFiles(byteFile(), null, { vocabulary: 200 });
  assertStringIncludes(await refusal(load), "do not belong together");
});

Deno.test("add_bos_token and add_eos_token overrule the post-processor", async () => {
  const post_processor = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<b>" } }, { Sequence: { id: "A" } }],
    special_tokens: { "<b>": { ids: [256] } },
  };
  const file = byteFile(["<b>", "<e>"], { post_processor });
  const named = { bos_token: "<b>", eos_token: "<e>" };
  const cases: [Record<string, unknown>, number[]][] = [
    [named, [256, 97]],
    [{ ...named, add_bos_token: true, add_eos_token: true }, [256, 97, 257]],
    [{ ...named, add_bos_token: false }, [97]],
    [{ add_bos_token: false }, [256, 97]],
  ];
  for (const [config, ids] of cases) {
    using processor = await fromFiles(file, config);
    assertEquals([...processor.tokenizer.encode("a", { addSpecial: true })], ids);
  }
});

Deno.test("what is wrong in GGUF metadata is named", async () => {
  const { metadata } = await sentencePiece();
  const cases: [string, unknown, string][] = [
    ["tokenizer.ggml.model", undefined, "tokenizer.ggml.model must be a text"],
    ["tokenizer.ggml.tokens", [1], "tokenizer.ggml.tokens must be a list of texts"],
    ["tokenizer.ggml.scores", new Float32Array(3), "one a token"],
    ["tokenizer.ggml.token_type", "x", "a list of numbers"],
    ["tokenizer.ggml.bos_token_id", "1", "a token id"],
    ["tokenizer.ggml.add_bos_token", 1, "true or false"],
    ["tokenizer.chat_template", 1, "a text"],
  ];
  for (const [key, value, part] of cases) {
    const damaged = new Map(metadata).set(key, value);
    const message = await refusal(() => loaded({ kind: "gguf", metadata: damaged }));
    assertStringIncludes(message, part);
  }
});

Deno.test("a GGUF pre-tokenizer that is not known is named, with those that are", async () => {
  const metadata = ggufMetadata(await goldenSource("recall"), "from-the-future");
  const message = await refusal(() => loaded({ kind: "gguf", metadata }));
  assertStringIncludes(message, '"from-the-future"');
  assertStringIncludes(message, "llama-bpe");
});

Deno.test("GGUF: user-defined tokens are always found, control tokens only when asked for", async () => {
  const { metadata } = await sentencePiece();
  using processor = await loaded({ kind: "gguf", metadata });
  const { tokenizer } = processor;
  const ids = (
    text: string,
    parseSpecial: boolean,
  ) => [...tokenizer.encode(text, { parseSpecial })];
  const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  assertEquals(ids("<sep>", false), [tokens.indexOf("<sep>")]);
  assertEquals(ids("</s>", true), [tokens.indexOf("</s>")]);
  assertEquals(ids("</s>", false).includes(tokens.indexOf("</s>")), false);
});

Deno.test("GGUF: the chat template and special tokens reach the prompt", async () => {
  const { metadata } = await sentencePiece();
  metadata.set(
    "tokenizer.chat_template",
    "{{ bos_token }}[{{ messages[0].content }}]{{ eos_token }}",
  );
  metadata.set("tokenizer.chat_template.tool_use", "tools");
  using processor = await loaded({ kind: "gguf", metadata });
  const messages = [{ role: "user", content: "</s>" }];
  assertEquals(processor.renderChat(messages), "<s>[</s>]</s>");
  const ids = await processor.encodeChat(messages);
  assertEquals([ids[0], ids.at(-1), ids.filter((id) => id === 2).length], [1, 2, 1]);
  assertEquals(processor.renderChat(messages, { tools: [{}] }), "tools");
});
