// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { translateRegex } from "../../../src/tokenizer/regex.ts";

function matches(pattern: string, text: string): string[] {
  return [...text.matchAll(new RegExp(translateRegex(pattern), "gv"))].map(([match]) => match);
}

Deno.test("white space is Unicode's, not JavaScript's", () => {
  assertEquals(matches("\\s+", "a\u0085b\ufeffc d"), ["\u0085", " "]);
  assertEquals(matches("[^\\s]+", "a\u0085b\ufeffc d"), ["a", "b\ufeffc", "d"]);
  assertEquals(matches("\\S+", "a\u3000b"), ["a", "b"]);
});

Deno.test("^ and $ are ends of lines, \\A and \\z of the text", () => {
  assertEquals(matches("^\\w+$", "ab\ncd\re\nf"), ["ab", "f"]);
  assertEquals(matches("\\A\\w|\\w\\z", "ab\nc"), ["a", "c"]);
  assertEquals(matches("\\w\\Z", "ab\n"), ["b"]);
  assertEquals(matches(".+", "ab\rc\nd"), ["ab\rc", "d"]);
  assertEquals(matches("(?m:.+)", "ab\nd"), ["ab\nd"]);
});

Deno.test("word boundaries and digits are Unicode's", () => {
  assertEquals(matches("\\b\\w+\\b", "été 4½"), ["été", "4"]);
  assertEquals(matches("\\d", "4٣½"), ["4", "٣"]);
  assertEquals(matches("\\Bb", "b ab"), ["b"]);
  assertEquals(matches("\\h+", "fg0A"), ["f", "0A"]);
});

Deno.test("inline flags hold for their group, or for what follows", () => {
  assertEquals(matches("(?i:'s|'LL)x?", "'S 'llX"), ["'S", "'ll"]);
  assertEquals(matches("a(?i)b|c", "aB ac C ab"), ["aB", "ac", "ab"]);
  assertEquals(matches("(?i:a(?-i:b))", "Ab AB"), ["Ab"]);
});

Deno.test("possessive quantifiers and atomic groups give nothing back", () => {
  assertEquals(matches("a++a|b", "aaab"), ["b"]);
  assertEquals(matches("(?>a+)a|b", "aaab"), ["b"]);
  assertEquals(matches("[^\\r\\n\\p{L}]?+\\p{L}+", " ab!c"), [" ab", "!c"]);
  assertEquals(matches("a{2}+", "aaaaa"), ["aaaa"]);
  assertEquals(matches("a+?", "aa"), ["a", "a"]);
});

Deno.test("braces that repeat nothing are braces", () => {
  assertEquals(matches("{a}|x{1,2}", "{a}xxx"), ["{a}", "xx", "x"]);
  assertEquals(matches("ax{,2}", "axxx a"), ["axx", "a"]);
});

Deno.test("classes: ranges, nesting, intersection, POSIX names, literal signs", () => {
  assertEquals(matches("[a-c]+", "abcd-"), ["abc"]);
  assertEquals(matches("[a\\-z]+", "a-bz"), ["a-", "z"]);
  assertEquals(matches("[]a]+", "a]b"), ["a]"]);
  assertEquals(matches("[^]a]+", "a]b"), ["b"]);
  assertEquals(matches("[a[bc]]+", "abcd"), ["abc"]);
  assertEquals(matches("[[:alpha:]&&[^b]]+", "abéc1"), ["a", "éc"]);
  assertEquals(matches("[[:digit:][:^alpha:]]+", "a1-b"), ["1-"]);
  assertEquals(matches("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]+", "a&&--[]^b"), ["&&--[]^"]);
  assertEquals(matches("[\\p{Lu}\\p{^L}]+", "aB1c"), ["B1"]);
});

Deno.test("characters by number, properties by name", () => {
  assertEquals(matches("\\x41\\x{1F600}\\u0042", "A😀B"), ["A😀B"]);
  assertEquals(matches("\\p{Han}+|\\p{Alpha}", "中文a"), ["中文", "a"]);
  assertEquals(matches("[一-龥]+", "中x"), ["中"]);
  assertEquals(matches("\\R", "a\r\nb\n"), ["\r\n", "\n"]);
  assertEquals(matches("\\-\\/\\ \\é", "-/ é"), ["-/ é"]);
  assertEquals(matches("😀+", "😀😀"), ["😀😀"]);
});

Deno.test("what cannot be read is named", () => {
  const patterns = [
    "(",
    ")",
    "a)",
    "[a",
    "\\",
    "*a",
    "\\p{Nonsense}",
    "\\K",
    "(?<n>a)\\k<n>",
    "\\1",
  ];
  for (const pattern of [...patterns, "(?x: a)", "[z-a]", "(?", "\\p", "\\u12", "(?|a)"]) {
    const failure = assertThrows(() => translateRegex(pattern), Failure, "cannot be read here");
    assertEquals(failure.kind, "model", pattern);
  }
});
