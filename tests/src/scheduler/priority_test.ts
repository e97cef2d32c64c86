// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../../../src/scheduler/clock.ts";
import type { Priority } from "../../../src/scheduler/priority.ts";
import { finish, setUp } from "./world.ts";

/** A scheduler that runs one job at a time, on a clock that goes on by so much in each step. */
function oneAtATime(stepMs: number) {
  let now = 0;
  const clock: Clock = { now: () => now, sleep: () => new Promise(() => {}) };
  const order: number[] = [];
  const world = setUp({
    maxContexts: 1,
    during: (_, sequences) => {
      now += stepMs;
      const { promptTokens } = sequences[0]!;
      if (order.at(-1) !== promptTokens) order.push(promptTokens);
    },
  }, { clock });
  const send = (promptTokens: number, priority: Priority) =>
    world.submit({ promptTokens, priority, maxTokens: 2 });
  return { world, order, send };
}

Deno.test("high goes before normal and normal before low, each in the order they came", async () => {
  const { world, order, send } = oneAtATime(1);
  send(10, "normal");
  send(11, "low");
  send(12, "normal");
  send(13, "high");
  send(14, "normal");
  send(15, "high");
  await finish(world);
  assertEquals(order, [10, 13, 15, 12, 14, 11]);
});

Deno.test("nobody starves: who waited for a minute goes before whoever comes", async () => {
  const { world, order, send } = oneAtATime(10_000);
  send(10, "normal");
  send(11, "low");
  let next = 12;
  const output = send(next++, "high").output;
  const again = () => {
    if (next < 40) send(next++, "high").output.onToken = again;
  };
  output.onToken = again;
  await finish(world);
  const place = order.indexOf(11);
  assert(place > 2 && place < 12, `${order}`);
});

Deno.test("when blocks run out, the lower priority pauses, though it came first", async () => {
  const world = setUp({ kvBlocks: 6, context: 700 }, { reservedTokens: 8 });
  const low = world.submit({ promptTokens: 100, maxTokens: 500, priority: "low" });
  const high = world.submit({ promptTokens: 101, maxTokens: 500, priority: "high" });
  const ended: string[] = [];
  for (const [name, { output }] of [["low", low], ["high", high]] as const) {
    output.onToken = () => {
      if (output.tokens.length === 500) ended.push(name);
    };
  }
  await finish(world);
  assertEquals([ended, world.engine.outOfBlocks], [["high", "low"], 0]);
});
