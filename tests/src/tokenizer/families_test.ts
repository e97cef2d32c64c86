// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { families, fromFiles, loaded, sentencePiece } from "../../fixtures/tokenizers.ts";

const FAMILIES = await families();

for (const [name, { tokenizer, cases }] of Object.entries(FAMILIES)) {
  Deno.test(`ids and texts of the kind ${name} equal the reference's`, async () => {
    using processor = await fromFiles(tokenizer);
    const { encode, decode } = bound(processor.tokenizer);
    for (const { t, ids, plain, d, skip } of cases) {
      assertEquals([...encode(t, { parseSpecial: true })], ids, JSON.stringify(t));
      assertEquals([...encode(t)], plain, `plain ${JSON.stringify(t)}`);
      assertEquals(decode(ids), d, JSON.stringify(t));
      assertEquals(decode(ids, { skipSpecial: true }), skip, JSON.stringify(t));
    }
  });

  Deno.test(`streams of the kind ${name} join to the decoded text`, async () => {
    using processor = await fromFiles(tokenizer);
    for (const { ids } of cases) {
      for (const skipSpecial of [false, true]) {
        for (const continues of [false, true]) {
          const stream = processor.tokenizer.streamDecoder({ skipSpecial, continues });
          const text = ids.map((id) => stream.push(id)).join("") + stream.flush();
          assertEquals(text, processor.tokenizer.decode(ids, { skipSpecial, continues }));
        }
      }
    }
  });
}

function bound<T extends { encode: unknown; decode: unknown }>(tokenizer: T): T {
  return new Proxy(tokenizer, {
    get: (target, key) => {
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("a BOS stands in front when it is asked for, and never twice", async () => {
  using processor = await fromFiles(FAMILIES.llama3!.tokenizer);
  const { tokenizer } = processor;
  const [bos] = tokenizer.encode("<s>", { parseSpecial: true });
  assertEquals(tokenizer.encode("a", { addSpecial: true })[0], bos);
  const given = tokenizer.encode("<s>a", { addSpecial: true, parseSpecial: true });
  assertEquals([...given], [bos, ...tokenizer.encode("a")]);
  const text = tokenizer.encode("<s>a", { addSpecial: true });
  assertEquals([...text], [bos, ...tokenizer.encode("<s>a")]);
});

Deno.test("GGUF's scored vocabulary gives the ids of the sentencepiece library", async () => {
  const { metadata, cases } = await sentencePiece();
  using processor = await loaded({ kind: "gguf", metadata });
  for (const { t, ids } of cases) {
    assertEquals([...processor.tokenizer.encode(t)], ids, JSON.stringify(t));
    // U+2581 stands for the space; texts that hold it cannot come back.
    if (!t.includes("\u2581")) assertEquals(processor.tokenizer.decode(ids), t);
  }
  assertEquals(processor.tokenizer.encode("a", { addSpecial: true })[0], 1);
  assertEquals(processor.tokenizer.endTokens, [2]);
  assert(!processor.hasChatTemplate);
});

Deno.test("a SentencePiece stream keeps the space of a text that goes on", async () => {
  const { metadata } = await sentencePiece();
  using processor = await loaded({ kind: "gguf", metadata });
  const { tokenizer } = processor;
  const ids = tokenizer.encode("the end");
  assertEquals(tokenizer.decode(ids), "the end");
  assertEquals(tokenizer.decode(ids, { continues: true }), " the end");
  const stream = tokenizer.streamDecoder({ continues: true });
  assertEquals(Array.from(ids, (id) => stream.push(id)).join(""), " the end");
});
