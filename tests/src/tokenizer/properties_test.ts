// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { goldenSource, loaded } from "../../fixtures/tokenizers.ts";

const text = fc.array(
  fc.oneof(
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.string({ unit: "grapheme", maxLength: 20 }),
    fc.constantFrom(" ", "  ", "\n\n", "<|im_end|>", "12", "don't", "\ufeff", "\u0085", "\r\n"),
  ),
  { maxLength: 8 },
).map((parts) => parts.join(""));

using recall = await loaded(await goldenSource("recall"));
using bytes = await loaded({ kind: "bytes" });

for (const [name, { tokenizer }] of Object.entries({ recall, bytes })) {
  Deno.test(`${name}: decoding gives back any text`, () => {
    fc.assert(
      fc.property(text, fc.boolean(), (original, parseSpecial) => {
        const ids = tokenizer.encode(original, { parseSpecial });
        assertEquals(tokenizer.decode(ids), original.toWellFormed());
        assert(ids.every((id) => id >= 0 && id < tokenizer.size));
      }),
      { seed: 5, numRuns: 300 },
    );
  });

  Deno.test(`${name}: a stream joins to the decoded text, whatever the tokens`, () => {
    const ids = fc.array(fc.integer({ min: -2, max: tokenizer.size + 2 }), { maxLength: 40 });
    fc.assert(
      fc.property(ids, fc.boolean(), (list, skipSpecial) => {
        const stream = tokenizer.streamDecoder({ skipSpecial });
        const pieces = list.map((id) => stream.push(id));
        // A piece ends with U+FFFD only when no further byte could have made it a character.
        const joined = pieces.join("") + stream.flush();
        assertEquals(joined, tokenizer.decode(list, { skipSpecial }));
      }),
      { seed: 6, numRuns: 300 },
    );
  });

  Deno.test(`${name}: a stream of a text's tokens never holds half a character`, () => {
    fc.assert(
      fc.property(text, (original) => {
        const stream = tokenizer.streamDecoder();
        let shown = "";
        for (const id of tokenizer.encode(original)) {
          shown += stream.push(id);
          assert(original.toWellFormed().startsWith(shown));
        }
        assertEquals(stream.flush(), "");
        assertEquals(shown, original.toWellFormed());
      }),
      { seed: 7, numRuns: 300 },
    );
  });
}

Deno.test("a special token separates: what is around it is encoded on its own", () => {
  const { tokenizer } = recall;
  fc.assert(
    fc.property(text, text, (a, b) => {
      const options = { parseSpecial: true };
      assertEquals([...tokenizer.encode(`${a}<|im_end|>${b}`, options)], [
        ...tokenizer.encode(a, options),
        2,
        ...tokenizer.encode(b, options),
      ]);
    }),
    { seed: 8, numRuns: 300 },
  );
});

Deno.test("plain encoding never gives a special token", () => {
  fc.assert(
    fc.property(text, (original) => {
      assert(!recall.tokenizer.encode(original).some((id) => recall.tokenizer.isSpecial(id)));
    }),
    { seed: 9, numRuns: 300 },
  );
});

Deno.test("the bytes of a text's tokens are the text's bytes", () => {
  const { tokenizer } = recall;
  fc.assert(
    fc.property(text, (original) => {
      const joined = [...tokenizer.encode(original)].flatMap((id) => [...tokenizer.tokenBytes(id)]);
      assertEquals(joined, [...new TextEncoder().encode(original)]);
    }),
    { seed: 10, numRuns: 200 },
  );
});

Deno.test("ids that are no tokens have no bytes", () => {
  for (const id of [-1, 4096, 1e9, NaN, 0.5]) {
    if (Number.isInteger(id)) assertEquals(recall.tokenizer.tokenBytes(id), new Uint8Array(0));
    assertEquals(recall.tokenizer.isSpecial(id), false);
  }
  assertEquals(recall.tokenizer.decode([-1, 43, 9999]), recall.tokenizer.decode([43]));
});

Deno.test("bytes: every byte is its own token, and chats are written one under the other", async () => {
  assertEquals([...bytes.tokenizer.encode("hé")], [104, 195, 169]);
  assertEquals(bytes.tokenizer.size, 256);
  assertEquals(bytes.tokenizer.endTokens, []);
  const ids = await bytes.encodeChat([{ role: "user", content: "hi" }]);
  assertEquals(bytes.tokenizer.decode(ids), "user: hi\nassistant: ");
});
