// SPDX-License-Identifier: Apache-2.0
/** Damaged files: loading them gives a Failure or a tokenizer that works, and never anything else. */
import { assert } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { loadTextProcessor } from "../../../src/tokenizer/load.ts";
import type { TokenizerSource } from "../../../src/model/model.ts";
import {
  generator,
  mutatedList,
  mutatedText,
  mutatedValue,
  VALUES,
} from "../../fixtures/mutations.ts";
import {
  byteFile,
  families,
  ggufMetadata,
  goldenSource,
  sentencePiece,
} from "../../fixtures/tokenizers.ts";

const SAMPLE = "Hello,  wörld's 123\n\n<|im_end|> \u2581☃😀\t<s>";
const MESSAGES = [
  { role: "system", content: "Be <|im_end|> brief." },
  { role: "user", content: "Hi 😀 " },
  { role: "assistant", content: "", tool_calls: [{ function: { name: "f", arguments: "{}" } }] },
];
const TOOLS = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];

/** Loads, and uses what was loaded. @returns whether it loaded */
async function survives(source: TokenizerSource, what: () => string): Promise<boolean> {
  let processor;
  try {
    processor = await loadTextProcessor(source);
    const { tokenizer } = processor;
    const ids = tokenizer.encode(SAMPLE, { parseSpecial: true, addSpecial: true });
    assert(ids.every((id) => id >= 0 && id < tokenizer.size), "an id is out of range");
    tokenizer.decode(ids, { skipSpecial: true });
    const stream = tokenizer.streamDecoder();
    for (const id of ids) stream.push(id);
    stream.flush();
    if (processor.hasChatTemplate) await processor.encodeChat(MESSAGES, { tools: TOOLS });
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) {
      throw new Error(`not a Failure: ${error}; from ${what()}`, { cause: error });
    }
    assert(error.kind === "model" || error.kind === "invalid", error.kind);
    assert(error.message.length < 2000 && error.message.length > 10, error.message);
    return processor !== undefined;
  } finally {
    processor?.close();
  }
}

/** Small, and with every kind of step. */
const SMALL = {
  added_tokens: [
    { id: 7, content: "<|im_end|>", special: true, lstrip: true, rstrip: true },
    { id: 8, content: "<s>", special: false, normalized: true, single_word: true },
  ],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "NFC" },
      { type: "Replace", pattern: { Regex: "\\s{2}" }, content: " " },
      { type: "Replace", pattern: { String: " " }, content: "\u2581" },
      { type: "Prepend", prepend: "\u2581" },
      { type: "Strip", strip_left: false, strip_right: true },
    ],
  },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      {
        type: "Split",
        pattern: { Regex: "(?i:'s|'t)|[^\\r\\n\\p{L}]?\\p{L}+|\\s+(?!\\S)|[[:alpha:]&&[a-c]]" },
        behavior: "Isolated",
        invert: false,
      },
      { type: "Digits", individual_digits: true },
      { type: "Punctuation", behavior: "MergedWithNext" },
      { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first", split: true },
    ],
  },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: { "<s>": { id: "<s>", ids: [8], tokens: ["<s>"] } },
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "\u2581" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "BPE",
    unk_token: "<unk>",
    byte_fallback: true,
    fuse_unk: true,
    ignore_merges: true,
    vocab: { "<unk>": 0, "\u2581": 1, H: 2, e: 3, He: 4, "<0x0A>": 5, "\u2581He": 6 },
    merges: ["H e", ["\u2581", "He"]],
  },
};

/** For the files beside tokenizer.json: quick to load. */
const PLAIN = JSON.stringify({
  added_tokens: SMALL.added_tokens,
  model: { ...SMALL.model, byte_fallback: false },
});

const CONFIG = {
  added_tokens_decoder: { "9": { content: "<|im_start|>", special: true } },
  bos_token: { content: "<s>", special: true },
  eos_token: "<|im_end|>",
  unk_token: null,
  add_bos_token: true,
  add_eos_token: false,
  chat_template: [
    { name: "default", template: "{{ bos_token }}{{ messages[0].content }}" },
    { name: "tool_use", template: "{{ tools | tojson }}" },
  ],
};

const TOOL_TEMPLATE =
  `{%- if messages[0].role == 'system' %}{% set sys = messages[0].content | trim %}
{%- set messages = messages[1:] %}{% else %}{% set sys = '' %}{% endif -%}
{%- macro show(m, i=0) %}<|im_start|>{{ m.role }}{{ '\\n' + m.content }}<|im_end|>{% endmacro -%}
{{ bos_token }}{{ strftime_now('%d %b %Y') }}{% for t in tools or [] %}{{ t | tojson(indent=4) }}{% endfor %}
{%- for m in messages if m.role is defined %}{{ show(m, i=loop.index0) }}
{%- if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endif %}
{%- set ns = namespace(n=0) %}{% set ns.n = ns.n + m.content.split(' ') | length %}{{ ns.n ~ 'x' }}
{%- endfor %}{% if add_generation_prompt and not sys.startswith('no') %}<|im_start|>{% endif %}`;

function huggingface(tokenizer: string, config: string | null): TokenizerSource {
  return { kind: "huggingface", tokenizerJson: tokenizer, tokenizerConfigJson: config };
}

/** Both kinds of mutation must let some files load, and refuse some. */
async function fuzz(runs: number, make: (i: number) => [TokenizerSource, string]): Promise<void> {
  let loads = 0;
  for (let i = 0; i < runs; i++) {
    const [source, text] = make(i);
    if (await survives(source, () => text.slice(0, 3000))) loads++;
  }
  assert(loads > 0 && loads < runs, `${loads} of ${runs} load`);
}

Deno.test("10,000 damaged tokenizer.json give a Failure or a tokenizer", async () => {
  const random = generator(1);
  const text = JSON.stringify(SMALL);
  const config = JSON.stringify(CONFIG);
  await fuzz(10_000, (i) => {
    const mutated = i % 2 ? mutatedText(text, random) : JSON.stringify(mutatedValue(SMALL, random));
    return [huggingface(mutated, config), mutated];
  });
});

Deno.test("10,000 damaged tokenizer_config.json give a Failure or a tokenizer", async () => {
  const random = generator(2);
  const text = JSON.stringify(CONFIG);
  await fuzz(10_000, (i) => {
    const mutated = i % 2
      ? mutatedText(text, random)
      : JSON.stringify(mutatedValue(CONFIG, random));
    return [huggingface(PLAIN, mutated), mutated];
  });
});

Deno.test("10,000 damaged chat templates give a Failure or a prompt", async () => {
  const random = generator(3);
  const { chat_template } = JSON.parse(
    (await goldenSource("smollm2-135m-instruct")).tokenizerConfigJson!,
  );
  await fuzz(10_000, (i) => {
    const template = mutatedText(i % 2 ? TOOL_TEMPLATE : chat_template, random);
    return [
      huggingface(PLAIN, JSON.stringify({ ...CONFIG, chat_template: template })),
      template,
    ];
  });
});

Deno.test("the templates that are mutated work unmutated", async () => {
  const config = JSON.stringify({ ...CONFIG, chat_template: TOOL_TEMPLATE });
  const source = huggingface(JSON.stringify(SMALL), config);
  const processor = await loadTextProcessor(source);
  const text = processor.renderChat(MESSAGES, { tools: TOOLS });
  assert(text.includes("Hi 😀") && text.includes('"parameters"'), text);
  processor.close();
});

Deno.test("2,000 damaged GGUF metadata give a Failure or a tokenizer", async () => {
  const random = generator(4);
  const small = byteFile(["<|im_end|>"]);
  const source = { kind: "huggingface" as const, tokenizerJson: JSON.stringify(small) };
  const bytePair = ggufMetadata(
    { ...source, tokenizerConfigJson: JSON.stringify(CONFIG) },
    "llama-bpe",
  );
  const { metadata: sentence } = await sentencePiece();
  await fuzz(2_000, (i) => {
    const metadata = new Map(i % 2 ? bytePair : sentence);
    const keys = [...metadata.keys()];
    const key = keys[random(keys.length)]!;
    const kind = random(3);
    if (kind === 0) metadata.delete(key);
    else if (kind === 1) metadata.set(key, VALUES[random(VALUES.length)]);
    else metadata.set(key, mutatedList(metadata.get(key), random));
    return [{ kind: "gguf", metadata }, key];
  });
});

Deno.test("300 damaged real tokenizer.json give a Failure or a tokenizer", async () => {
  const random = generator(5);
  const { tokenizerJson } = await goldenSource("recall");
  const { llama2 } = await families();
  const texts = [tokenizerJson, JSON.stringify(llama2!.tokenizer)];
  await fuzz(300, (i) => {
    const mutated = mutatedText(texts[i % 2]!, random);
    return [huggingface(mutated, null), mutated];
  });
});
