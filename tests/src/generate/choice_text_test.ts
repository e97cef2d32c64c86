// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ChoiceText, type Released } from "../../../src/generate/choice_text.ts";
import { stopPatterns } from "../../../src/generate/stop_matcher.ts";
import { TokenTexts } from "../../../src/generate/token_texts.ts";
import type { StreamDecoder, Tokenizer } from "../../../src/tokenizer/tokenizer.ts";
import { BYTES, SPECIAL } from "../../fixtures/fake_text.ts";

/** A tokenizer whose token i is the i-th of these pieces of bytes. */
function piecesTokenizer(pieces: readonly Uint8Array[]): Tokenizer {
  return {
    ...BYTES,
    tokenBytes: (token) => pieces[token]!,
    streamDecoder(): StreamDecoder {
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      return {
        push: (token) => decoder.decode(pieces[token], { stream: true }),
        flush: () => decoder.decode(),
      };
    },
  };
}

interface Outcome {
  text: string;
  /** Text and tokens of each release. */
  releases: Released[];
  stop: string | null;
}

/** Reads a text that is cut into these tokens. */
function read(
  pieces: readonly Uint8Array[],
  stops: readonly string[],
  withTokens: boolean,
): Outcome {
  const tokenizer = piecesTokenizer(pieces);
  const texts = new TokenTexts(tokenizer);
  const choice = new ChoiceText(tokenizer.streamDecoder(), stopPatterns(stops));
  const releases: Released[] = [];
  const keep = (released: Released | null) => released !== null && releases.push(released);
  for (let token = 0; token < pieces.length && choice.stopString === null; token++) {
    keep(choice.push(token, withTokens ? texts.info(token, -1, []) : null, true));
  }
  if (choice.stopString === null) keep(choice.finish(true));
  return {
    text: releases.map((released) => released.text).join(""),
    releases,
    stop: choice.stopString,
  };
}

/** Cuts bytes at these relative lengths, so that characters are cut too. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length]!;
    pieces.push(bytes.slice(at, at + length));
    at += length;
  }
  return pieces;
}

const text = fc.array(fc.constantFrom("a", "b", "é", "🐗", "字"), { minLength: 1, maxLength: 16 })
  .map((letters) => letters.join(""));
const stops = fc.array(
  fc.array(fc.constantFrom("a", "b", "é", "🐗", "字"), { minLength: 1, maxLength: 4 })
    .map((letters) => letters.join("")),
  { maxLength: 3 },
);
const lengths = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 12 });

Deno.test("any split of a text into tokens gives the same cut", () => {
  fc.assert(
    fc.property(text, stops, lengths, fc.boolean(), (text, stops, lengths, withTokens) => {
      const bytes = new TextEncoder().encode(text);
      const whole = read([bytes], stops, false);
      const parts = read(cut(bytes, lengths), stops, withTokens);
      assertEquals(parts.text, whole.text);
      assertEquals(parts.stop, whole.stop);
      assert(text.startsWith(whole.text));
      if (whole.stop === null) assertEquals(whole.text, text);
      else assert(text.startsWith(whole.text + whole.stop));
    }),
    { numRuns: 2000, seed: 2 },
  );
});

Deno.test("released tokens spell the released text, in order, and none of them is lost", () => {
  fc.assert(
    fc.property(text, lengths, stops, (text, lengths, stops) => {
      const bytes = new TextEncoder().encode(text);
      const pieces = cut(bytes, lengths);
      const { releases, stop, text: kept } = read(pieces, stops, true);
      const tokens = releases.flatMap((released) => released.tokens.map(({ token }) => token));
      assertEquals(tokens, tokens.map((_, i) => i));
      const spelled = new TextDecoder().decode(
        Uint8Array.from(tokens.flatMap((token) => [...pieces[token]!])),
      );
      const before = tokens.slice(0, -1).reduce((sum, token) => sum + pieces[token]!.length, 0);
      const keptBytes = new TextEncoder().encode(kept).length;
      // A token that the stop string cuts is still there whole; those wholly within it are not.
      if (stop === null) assertEquals([spelled, tokens.length], [kept, pieces.length]);
      else assert(spelled.startsWith(kept) && (tokens.length === 0 || before < keptBytes));
      const decoder = new TextDecoder();
      for (const released of releases.slice(0, -1)) {
        const bytes = Uint8Array.from(released.tokens.flatMap((token) => [...token.bytes]));
        assertEquals(decoder.decode(bytes, { stream: true }), released.text);
      }
    }),
    { numRuns: 2000, seed: 3 },
  );
});

Deno.test("text that cannot become a stop string is released at once", () => {
  const choice = new ChoiceText(BYTES.streamDecoder(), stopPatterns(["\n\n"]));
  assertEquals(choice.push(97, null, true), { text: "a", tokens: [], count: 1 });
  assertEquals(choice.push(10, null, true), null);
  assertEquals(choice.push(98, null, true), { text: "\nb", tokens: [], count: 2 });
  assertEquals(choice.push(10, null, true), null);
  assertEquals(choice.push(10, null, true), null);
  assertEquals(choice.stopString, "\n\n");
});

Deno.test("a character that is never completed becomes U+FFFD at the end", () => {
  const choice = new ChoiceText(BYTES.streamDecoder(), []);
  assertEquals(choice.push(0xf0, null, true), null);
  assertEquals(choice.finish(true), { text: "\uFFFD", tokens: [], count: 1 });
});

Deno.test("tokens without a text come with the text after them, or at the end", () => {
  const texts = new TokenTexts(BYTES);
  const special = texts.info(SPECIAL, -1, []);
  const letter = texts.info(97, -2, []);
  const choice = new ChoiceText(BYTES.streamDecoder({ skipSpecial: true }), []);
  assertEquals(choice.push(SPECIAL, special, true), null);
  assertEquals(choice.push(97, letter, true), { text: "a", tokens: [special, letter], count: 2 });
  assertEquals(choice.push(SPECIAL, special, true), null);
  assertEquals(choice.finish(true), { text: "", tokens: [special], count: 1 });
});
