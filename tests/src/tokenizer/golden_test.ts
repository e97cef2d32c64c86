// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import {
  ggufMetadata,
  type GoldenModel,
  goldenSource,
  type GoldenTokenizer,
  goldenTokenizer,
  loaded,
} from "../../fixtures/tokenizers.ts";
import type { TokenizerSource } from "../../../src/model/model.ts";
import type { Tokenizer } from "../../../src/tokenizer/tokenizer.ts";
import { openModel } from "../../../src/model/source.ts";

function checkEncoding(tokenizer: Tokenizer, golden: GoldenTokenizer): void {
  for (const { t, ids, plain } of golden.cases) {
    assertEquals([...tokenizer.encode(t, { parseSpecial: true })], ids, JSON.stringify(t));
    assertEquals([...tokenizer.encode(t)], plain ?? ids, `plain ${JSON.stringify(t)}`);
  }
  for (const { utf16, t, ids } of golden.surrogates) {
    assertEquals([...tokenizer.encode(String.fromCharCode(...utf16))], ids, t);
  }
  for (const [text, ids] of Object.entries(golden.ids_with_add_special_tokens)) {
    assertEquals([...tokenizer.encode(text, { addSpecial: true })], ids);
  }
}

function checkDecoding(tokenizer: Tokenizer, golden: GoldenTokenizer): void {
  const cases = [
    ...golden.cases.map(({ t, ids, d, skip }) => ({ ids, d: d ?? t, skip })),
    ...golden.decode,
  ];
  for (const { ids, d, skip } of cases) {
    assertEquals(tokenizer.decode(ids), d);
    assertEquals(tokenizer.decode(ids, { skipSpecial: true }), skip ?? d);
  }
  for (const { ids, prefix, stream, flush } of golden.prefixes) {
    const decoder = tokenizer.streamDecoder();
    assertEquals(ids.map((id) => decoder.push(id)), stream);
    assertEquals(decoder.flush(), flush);
    assertEquals(ids.map((_, k) => tokenizer.decode(ids.slice(0, k + 1))), prefix);
  }
}

function checkVocabulary(tokenizer: Tokenizer, golden: GoldenTokenizer): void {
  assertEquals(tokenizer.size, golden.vocab_size);
  for (const [text, id] of Object.entries(golden.special_tokens)) {
    assert(tokenizer.isSpecial(id));
    assertEquals(new TextDecoder().decode(tokenizer.tokenBytes(id)), text);
  }
  for (const byte of golden.bytes_without_a_token) {
    if (byte < 128) assertEquals([...tokenizer.encode(String.fromCharCode(byte))], []);
  }
}

async function checkAll(model: GoldenModel, source: TokenizerSource): Promise<void> {
  const golden = await goldenTokenizer(model);
  using processor = await loaded(source);
  checkVocabulary(processor.tokenizer, golden);
  checkEncoding(processor.tokenizer, golden);
  checkDecoding(processor.tokenizer, golden);
  assertEquals(processor.tokenizer.endTokens, [2]);
}

const PRE = { recall: "smollm", "smollm2-135m-instruct": "smollm" } as const;

for (const model of ["recall", "smollm2-135m-instruct"] as const) {
  Deno.test(`every golden case of ${model} comes out of tokenizer.json`, async () => {
    await checkAll(model, await goldenSource(model));
  });

  Deno.test(`every golden case of ${model} comes out of GGUF metadata`, async () => {
    const metadata = ggufMetadata(await goldenSource(model), PRE[model]);
    await checkAll(model, { kind: "gguf", metadata });
  });
}

const GGUF = new URL("../../../models/smollm2-135m-instruct/model.gguf", import.meta.url);

Deno.test("every golden case of SmolLM2 comes out of the real GGUF file", async () => {
  const there = await Deno.stat(GGUF).then(() => true, () => false);
  if (!there) {
    console.log(`      ${GGUF.pathname} is not there: \`deno task model:smollm2\` gets it.`);
    return;
  }
  const model = await openModel(decodeURIComponent(GGUF.pathname));
  await checkAll("smollm2-135m-instruct", model.tokenizer);
});
