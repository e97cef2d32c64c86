// SPDX-License-Identifier: Apache-2.0
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Pace } from "../../../src/scheduler/pace.ts";
import { STAGES } from "../../fixtures/fake_context.ts";
import { Random } from "../../fixtures/fake_model.ts";

/** A machine: milliseconds of a token, of a pair of a token and a key before it, and of one who decodes. */
interface Machine {
  token: number;
  pair: number;
  decode: number;
  decodeAttention?: number;
}

function step(
  pace: Pace,
  { token, pair, decode, decodeAttention = 0 }: Machine,
  tokens: number,
  depth: number,
  decoding: number,
): number {
  const attention = pair * tokens * (depth + tokens / 2) + decodeAttention * decoding;
  const totalMs = token * tokens + decode * decoding + attention;
  pace.stepped({
    totalMs,
    stageMs: { ...STAGES, attention },
    prefill: tokens === 0 ? [] : [{ tokens, depth }],
    decodeTokens: decoding,
  });
  return totalMs;
}

Deno.test("a chunk beside decoding neighbours makes the step as long as it should be, at any depth", () => {
  const machine = { token: 0.2, pair: 2e-5, decode: 3, decodeAttention: 0.5 };
  const pace = new Pace(50);
  for (let i = 0; i < 20; i++) step(pace, machine, 0, 0, 4);
  assertAlmostEquals(pace.prefillMs(4), 50 - 14, 1e-6);
  let longest = 0;
  for (let depth = 0, i = 0; depth < 30_000; i++) {
    const tokens = Math.max(1, pace.tokensIn(pace.prefillMs(4), depth));
    const ms = step(pace, machine, tokens, depth, 4);
    if (i > 3) longest = Math.max(longest, Math.abs(ms - 50));
    depth += tokens;
  }
  assert(longest < 3, `${longest} ms beside the target`);
});

Deno.test("what is known of long prompts isn't forgotten over short ones", () => {
  const machine = { token: 0.2, pair: 1e-5, decode: 1 };
  const pace = new Pace(50);
  for (let depth = 0; depth < 20_000; depth += 200) step(pace, machine, 200, depth, 0);
  // Attention over few keys takes longer than its keys explain.
  for (let i = 0; i < 200; i++) {
    pace.stepped({
      totalMs: 9,
      stageMs: { ...STAGES, attention: 1 },
      prefill: [{ tokens: 40, depth: 0 }],
      decodeTokens: 0,
    });
  }
  const ms = pace.msOf(100, 20_000);
  assert(ms > 36 && ms < 50, `${ms}`);
});

Deno.test("before anything is measured chunks are small, and alone they are larger", () => {
  const pace = new Pace(50);
  assertEquals(pace.tokensIn(pace.prefillMs(1), 10_000), 64);
  assertEquals(pace.tokensIn(pace.prefillMs(0), 10_000), 640);
});

Deno.test("where decode alone takes too long, prefill still gets a quarter of a step", () => {
  const pace = new Pace(40);
  for (let i = 0; i < 30; i++) step(pace, { token: 1, pair: 0, decode: 30 }, 0, 0, 2);
  // 20 of 60 + 20; where decode leaves more than nothing, a quarter of the step that was asked for.
  assertAlmostEquals(pace.prefillMs(2), 20, 1e-6);
  const quick = new Pace(40);
  for (let i = 0; i < 30; i++) step(quick, { token: 1, pair: 0, decode: 15 }, 0, 0, 2);
  assertAlmostEquals(quick.prefillMs(2), 10, 1e-6);
});

Deno.test("what decode takes is measured without prompts: at first, and after 31 steps with some", () => {
  const machine = { token: 0.4, pair: 0, decode: 3 };
  const pace = new Pace(50);
  step(pace, machine, 100, 0, 0);
  assertEquals([pace.lacksDecode(0), pace.lacksDecode(60)], [false, true]);
  step(pace, machine, 0, 0, 60);
  for (let i = 0; i < 31; i++) {
    assertEquals(pace.lacksDecode(60), false);
    step(pace, machine, 32, 0, 60);
  }
  assertEquals([pace.lacksDecode(0), pace.lacksDecode(60)], [false, true]);
  // A quarter of the time: 60 of 180 + 60 milliseconds.
  assertAlmostEquals(pace.tokensIn(pace.prefillMs(60), 0), 150, 2);
});

Deno.test("tokens and milliseconds are each other's inverse", () => {
  const random = new Random(3);
  for (let i = 0; i < 200; i++) {
    const pace = new Pace();
    const machine = { token: random.next(), pair: random.chance(0.2) ? 0 : random.next() / 1e4 };
    step(pace, { ...machine, decode: 0 }, 100, 1000, 0);
    const [ms, depth] = [random.integer(1, 500), random.integer(0, 50_000)];
    const tokens = pace.tokensIn(ms, depth);
    assert(pace.msOf(tokens, depth) <= ms * (1 + 1e-9));
    assert(pace.msOf(tokens + 1, depth) >= ms * (1 - 1e-9));
  }
});

Deno.test("a clock that stands still does no harm", () => {
  const pace = new Pace();
  step(pace, { token: 0, pair: 0, decode: 0 }, 512, 0, 0);
  pace.finished();
  assertEquals(pace.tokensIn(50, 0), Infinity);
  assertEquals([pace.tokensIn(0, 0), pace.tokensIn(-1, 5)], [0, 0]);
  assertEquals(pace.retryAfterSeconds(10), 1);
});

Deno.test("the time to come back follows the measured rate and stays between 1 and 60 seconds", () => {
  const pace = new Pace();
  assertEquals(pace.retryAfterSeconds(10), 5);
  for (let job = 0; job < 20; job++) {
    for (let i = 0; i < 20; i++) step(pace, { token: 0, pair: 0, decode: 100 }, 0, 0, 1);
    pace.finished();
  }
  // A request takes two seconds, so five of ten are gone after ten.
  assertEquals(pace.retryAfterSeconds(10), 10);
  assertEquals(pace.retryAfterSeconds(0), 1);
  assertEquals(pace.retryAfterSeconds(1000), 60);
  assert(pace.retryAfterSeconds(4) < pace.retryAfterSeconds(8));
});
