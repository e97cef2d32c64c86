// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { AddedTokenFinder } from "../../../src/tokenizer/added_tokens.ts";
import { compileNormalizers } from "../../../src/tokenizer/normalizers.ts";
import type { AddedToken, SplitBehavior, SplitStep } from "../../../src/tokenizer/spec.ts";
import { compileSplits } from "../../../src/tokenizer/splits.ts";
import { Vocabulary } from "../../../src/tokenizer/vocabulary.ts";

function pieces(text: string, ...steps: SplitStep[]): string[] {
  const out: string[] = [];
  compileSplits(steps)(text, true, (piece) => out.push(piece));
  return out;
}

function split(regex: string, behavior: SplitBehavior, invert = false): SplitStep {
  return { kind: "split", pattern: { regex }, behavior, invert };
}

Deno.test("the five behaviours of a split", () => {
  const of = (behavior: SplitBehavior) => pieces("the-final--countdown", split("-", behavior));
  assertEquals(of("removed"), ["the", "final", "countdown"]);
  assertEquals(of("isolated"), ["the", "-", "final", "-", "-", "countdown"]);
  assertEquals(of("merged_with_previous"), ["the-", "final-", "-", "countdown"]);
  assertEquals(of("merged_with_next"), ["the", "-final", "-", "-countdown"]);
  assertEquals(of("contiguous"), ["the", "-", "final", "--", "countdown"]);
});

Deno.test("an inverted split treats what is between the matches as the matches", () => {
  assertEquals(pieces("a1b", split("[a-z]", "removed", true)), ["a", "b"]);
  assertEquals(pieces("a1b", split("[a-z]", "merged_with_previous", true)), ["a1", "b"]);
});

Deno.test("matches without length cut", () => {
  assertEquals(pieces("1234567", split("(?=(?:\\d{3})+(?!\\d))", "isolated")), ["1", "234", "567"]);
});

Deno.test("steps cut the pieces of the steps before", () => {
  const steps = [split("\\d", "isolated"), split("\\s+(?!\\S)|\\s+|\\S+", "isolated")];
  assertEquals(pieces("a  1 b", ...steps), ["a", "  ", "1", " ", "b"]);
});

Deno.test("metaspace puts its character in front of what stands first, or of everything", () => {
  const meta = (prepend: "always" | "first" | "never", cut: boolean): SplitStep => ({
    kind: "metaspace",
    replacement: "_",
    prepend,
    split: cut,
  });
  assertEquals(pieces("a b", meta("always", true)), ["_a", "_b"]);
  assertEquals(pieces(" a b", meta("always", false)), ["_a_b"]);
  assertEquals(pieces("a.b", split("\\.", "removed"), meta("first", false)), ["_a", "b"]);
  assertEquals(pieces("a.b", split("\\.", "removed"), meta("always", false)), ["_a", "_b"]);
  assertEquals(pieces("a b", meta("never", true)), ["a", "_b"]);
});

Deno.test("a run that the expression engine cannot hold is cut, and loses nothing", () => {
  const text = "😀".repeat(9_000_000);
  const cut = pieces(text, split("[^\\p{L}\\p{N}]+", "isolated"));
  assertEquals(cut.join("") === text, true);
  assertEquals(cut.every((piece) => piece.isWellFormed()), true);
});

Deno.test("normalizers run in order; replacements are literal", () => {
  const normalize = compileNormalizers([
    { kind: "strip", left: true, right: true },
    { kind: "lowercase" },
    { kind: "unicode", form: "NFKC" },
    { kind: "replace", pattern: { text: " " }, content: "$&" },
    { kind: "replace", pattern: { regex: "\\p{Nd}" }, content: "$1" },
    { kind: "prepend", text: "_" },
  ]);
  assertEquals(normalize("\u3000Ａ b7\n"), "_a$&b$1");
  assertEquals(normalize(" "), "");
});

Deno.test("normalizing a long run of marks keeps every one of them", () => {
  const normalize = compileNormalizers([{ kind: "unicode", form: "NFD" }]);
  const marks = "\u0301\u0323".repeat(1000);
  const sorted = (text: string) => [...text].sort().join("");
  assertEquals(sorted(normalize("é" + marks)), sorted("e\u0301" + marks));
});

function added(content: string, more: Partial<AddedToken> = {}): AddedToken {
  const flags = {
    special: true,
    normalized: false,
    singleWord: false,
    lstrip: false,
    rstrip: false,
  };
  return { id: content.length, content, ...flags, ...more };
}

function found(text: string, tokens: AddedToken[], special = true): string[] {
  const matches = new AddedTokenFinder(tokens).find(text, { special, escape: null });
  return matches.map(({ start, end }) => text.slice(start, end));
}

Deno.test("added tokens are found leftmost, the longest first", () => {
  const tokens = [added("ab"), added("abcd"), added("bc"), added("d")];
  assertEquals(found("xabcabcdd", tokens), ["ab", "abcd", "d"]);
  assertEquals(found("", tokens), []);
  assertEquals(found("xabc", []), []);
});

Deno.test("special tokens that are not wanted hide what lies in them", () => {
  const tokens = [added("<ab>"), added("b", { special: false })];
  assertEquals(found("<ab>b", tokens, false), ["b"]);
});

Deno.test("flags: white space around, and whole words", () => {
  assertEquals(found("a  <x> \n b", [added("<x>", { lstrip: true, rstrip: true })]), ["  <x> \n "]);
  assertEquals(found(" ".repeat(300) + "<x>", [added("<x>", { lstrip: true })])[0]!.length, 303);
  assertEquals(found("<x>  <x>", [added("<x>", { lstrip: true, rstrip: true })]), ["<x>  ", "<x>"]);
  const word = added("of", { singleWord: true });
  assertEquals(found("of off of_ (of) éof of", [word]), ["of", "of", "of"]);
});

Deno.test("a vocabulary finds whole texts, parts, and two parts joined", () => {
  const vocabulary = new Vocabulary(3);
  vocabulary.set("he", 1);
  vocabulary.set("llo", 2);
  vocabulary.set("hello", 3);
  vocabulary.set("he", 4);
  assertEquals(vocabulary.count, 3);
  assertEquals([...vocabulary], [["he", 4], ["llo", 2], ["hello", 3]]);
  assertEquals([vocabulary.get("he"), vocabulary.get("h"), vocabulary.get("")], [4, -1, -1]);
  assertEquals(vocabulary.getPart("xhellox", 1, 6), 3);
  assertEquals(vocabulary.getJoined("he", 0, 2, "hello", 2, 5), 3);
  assertEquals(vocabulary.getJoined("he", 0, 2, "", 0, 0), 4);
});
