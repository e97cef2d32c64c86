// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StopMatcher, stopPatterns } from "../../../src/generate/stop_matcher.ts";

/** The stop string that ends first, of those the longest, found by trying every position. */
function firstStop(text: string, stops: readonly string[]) {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (ending.length === 0) continue;
    const stop = ending.reduce((a, b) => b.length > a.length ? b : a);
    return { stop, start: end - stop.length };
  }
  return null;
}

/** Units at the end of the text that are the beginning, and not all, of a stop string. */
function possibleStop(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let n = 1; n < stop.length; n++) {
      if (text.endsWith(stop.slice(0, n))) longest = Math.max(longest, n);
    }
  }
  return longest;
}

/** Few letters, so that stop strings overlap with the text and each other. */
const letters = (most: number) =>
  fc.array(fc.constantFrom("a", "b", "é", "🐗"), { minLength: 1, maxLength: most })
    .map((units) => units.join(""));

Deno.test("any way to cut a text into pieces finds the stop string that is complete first", () => {
  fc.assert(
    fc.property(
      letters(20),
      fc.array(letters(4), { minLength: 1, maxLength: 3 }),
      fc.infiniteStream(fc.integer({ min: 0, max: 4 })),
      (text, stops, lengths) => {
        const matcher = new StopMatcher(stopPatterns(stops));
        let found = null;
        for (let at = 0; at < text.length && found === null;) {
          const length = lengths.next().value!;
          found = matcher.push(text.slice(at, at + length), true);
          at += length;
          const read = text.slice(0, at);
          if (found === null) assertEquals(matcher.heldBack, possibleStop(read, stops));
        }
        assertEquals(found, firstStop(text, stops));
      },
    ),
    { numRuns: 3000, seed: 1 },
  );
});

Deno.test("a stop string that is complete while stops don't count is not found later", () => {
  const matcher = new StopMatcher(stopPatterns(["ab", "abcd"]));
  assertEquals(matcher.push("ab", false), null);
  assertEquals(matcher.heldBack, 2);
  assertEquals(matcher.push("x", true), null);
  assertEquals(matcher.heldBack, 0);
});

Deno.test("a stop string that starts while stops don't count and is complete later counts", () => {
  const matcher = new StopMatcher(stopPatterns(["aba"]));
  assertEquals(matcher.push("xaba", false), null);
  assertEquals(matcher.push("ba", true), { stop: "aba", start: 3 });
});

Deno.test("without stop strings nothing is held back", () => {
  const matcher = new StopMatcher(stopPatterns([]));
  assertEquals(matcher.push("anything", true), null);
  assertEquals(matcher.heldBack, 0);
});
