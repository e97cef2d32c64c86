// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { Pace } from "../../../src/scheduler/pace.ts";

Deno.test("chunks shrink until a step beside decoding neighbours takes about 150 ms", () => {
  const pace = new Pace();
  assertEquals(pace.chunkTokens, 512);
  for (let i = 0; i < 20; i++) pace.stepped(100, 0, 4);
  // A millisecond a token, beside 100 ms of decode.
  for (let i = 0; i < 30; i++) pace.stepped(100 + pace.chunkTokens, pace.chunkTokens, 4);
  assertEquals(pace.chunkTokens, 128);
  for (let i = 0; i < 30; i++) pace.stepped(1000, 100, 0);
  assertEquals(pace.chunkTokens, 64);
  for (let i = 0; i < 60; i++) pace.stepped(10, 1000, 0);
  assertEquals(pace.chunkTokens, 512);
});

Deno.test("a clock that stands still does no harm", () => {
  const pace = new Pace();
  pace.stepped(0, 512, 0);
  pace.finished();
  assertEquals(pace.chunkTokens, 512);
  assertEquals(pace.retryAfterSeconds(10), 1);
});

Deno.test("the time to come back follows the measured rate and stays between 1 and 60 seconds", () => {
  const pace = new Pace();
  assertEquals(pace.retryAfterSeconds(10), 5);
  for (let job = 0; job < 20; job++) {
    for (let step = 0; step < 20; step++) pace.stepped(100, 0, 1);
    pace.finished();
  }
  // A request takes two seconds, so five of ten are gone after ten.
  assertEquals(pace.retryAfterSeconds(10), 10);
  assertEquals(pace.retryAfterSeconds(0), 1);
  assertEquals(pace.retryAfterSeconds(1000), 60);
  assert(pace.retryAfterSeconds(4) < pace.retryAfterSeconds(8));
});
