// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { assertEquals, assertRejects } from "@std/assert";
import { merge } from "../../routes/merge.ts";

async function* after(delays: readonly number[]): AsyncGenerator<number> {
  for (const [i, turns] of delays.entries()) {
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    yield i;
  }
}

Deno.test("merge() loses nothing and keeps each source's order, whatever the delays", async () => {
  const delays = fc.array(fc.array(fc.nat(20), { maxLength: 10 }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(delays, async (all) => {
      const seen: number[][] = all.map(() => []);
      for await (const { source, value } of merge(all.map(after))) seen[source]!.push(value);
      assertEquals(seen, all.map((delays) => delays.map((_, i) => i)));
    }),
    { numRuns: 300, seed: 3 },
  );
});

Deno.test("merge() asks a source for more only when its last value was taken", async () => {
  let made = 0;
  async function* eager(): AsyncGenerator<number> {
    for (;; made++) {
      await Promise.resolve();
      yield made;
    }
  }
  const merged = merge([eager(), eager()]);
  for (let i = 0; i < 4; i++) await merged.next();
  await new Promise((resolve) => setTimeout(resolve, 5));
  // Four were taken, and one of each source may wait.
  assertEquals(made <= 6, true);
  await merged.return(undefined);
});

Deno.test("merge() throws what a source throws", async () => {
  async function* broken(): AsyncGenerator<number> {
    yield 1;
    await Promise.resolve();
    throw new RangeError("broken");
  }
  const read = async () => {
    for await (const _ of merge([after([1, 2, 3]), broken()]));
  };
  await assertRejects(read, RangeError, "broken");
});

Deno.test("merge() of nothing ends at once", async () => {
  assertEquals(await merge([]).next(), { done: true, value: undefined });
});
