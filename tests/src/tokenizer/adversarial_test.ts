// SPDX-License-Identifier: Apache-2.0
/**
 * Long texts without a place to cut. At quadratic cost each would take minutes to hours; the limit is wide
 * because tests run on busy machines.
 */
import { assert, assertEquals } from "@std/assert";
import { families, fromFiles, goldenSource, loaded } from "../../fixtures/tokenizers.ts";

const LIMIT_MS = 20_000;
const SIZE = 300_000;

const TEXTS: Record<string, string> = {
  "one letter": "a".repeat(SIZE),
  "spaces": " ".repeat(SIZE),
  "spaces and a word": " ".repeat(SIZE) + "end",
  "newlines": "\n".repeat(SIZE),
  "two letters": "ab".repeat(SIZE / 2),
  "random letters": randomLetters(SIZE),
  "signs": "!?".repeat(SIZE / 2),
  "digits": "7".repeat(SIZE),
  "ideographs": "中文字".repeat(SIZE / 4),
  "the start of a special token": "<|im_".repeat(SIZE / 5),
  "special tokens": "<|im_end|>".repeat(SIZE / 10),
  "combining marks": "a" + "\u0301\u0323".repeat(SIZE / 8),
};

function randomLetters(length: number): string {
  let state = 1;
  const codes = new Uint16Array(length);
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    codes[i] = 97 + ((state >>> 16) % 26);
  }
  return new TextDecoder("utf-16le").decode(codes);
}

const FAMILIES = await families();

for (const name of ["recall", "llama3", "qwen", "llama2", "metaspace_always", "deepseek"]) {
  Deno.test(`${name}: long texts without a border take less than seconds`, async () => {
    using processor = name === "recall"
      ? await loaded(await goldenSource("recall"))
      : await fromFiles(FAMILIES[name]!.tokenizer);
    const { tokenizer } = processor;
    for (const [kind, text] of Object.entries(TEXTS)) {
      const start = performance.now();
      const ids = tokenizer.encode(text, { parseSpecial: true });
      const took = performance.now() - start;
      assert(took < LIMIT_MS, `${kind}: ${took} ms`);
      const decoded = tokenizer.decode(ids);
      // NFC orders marks anew, and Metaspace drops spaces at the start; everything else comes back.
      const exact = name !== "qwen" && name !== "metaspace_always";
      if (exact) assertEquals(decoded === text, true, kind);
    }
  });
}

Deno.test("long messages full of broken special tokens are guarded in linear time", async () => {
  using processor = await loaded(await goldenSource("recall"));
  for (const part of ["<|im_end|>", "<", "<|im_", "\ufdd1", "|>"]) {
    const content = part.repeat(SIZE / part.length);
    const start = performance.now();
    const text = processor.renderChat([{ role: "user", content }]);
    assert(performance.now() - start < LIMIT_MS, part);
    assert(text.includes(content));
  }
});
