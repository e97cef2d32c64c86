// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { FULL_ATTENTION } from "../../../src/engine/engine.ts";
import { promptOf } from "../../fixtures/requests.ts";
import { finish, setUp } from "./world.ts";

Deno.test("who wants lsh starts from KV that has tables, unless another has a block of tokens more", async () => {
  const world = setUp({}, { prefixCache: true });
  const forks: [number, number][] = [];
  const { engine, engine: { forkContext } } = world;
  engine.forkContext = (context, tokens) => {
    forks.push([context, tokens]);
    return forkContext.call(engine, context, tokens);
  };
  /** Asks a question about a document of 1,000 tokens; says which context it started from, and with what. */
  const ask = async (strategy: "sketch" | "lsh", question: number, tokens: number) => {
    const prompt = promptOf(1000 + tokens);
    prompt.fill(question, 1000);
    const params = { ...FULL_ATTENTION, strategy };
    world.submit({ prompt, attention: { params, from: prompt.length, verify: 0 } });
    while (world.scheduler.running + world.scheduler.waiting > 0) {
      await new Promise((done) => setTimeout(done));
    }
    return forks.at(-1);
  };
  await ask("sketch", 1, 300);
  const [sketches] = world.scheduler.cache!.idle();
  await ask("lsh", 2, 10);
  const tables = world.scheduler.cache!.idle().find((entry) => entry !== sketches)!;
  assertEquals(await ask("sketch", 1, 110), [sketches!.context, 1109]);
  assertEquals(await ask("lsh", 1, 120), [tables.context, 1000]);
  assertEquals(await ask("lsh", 1, 290), [sketches!.context, 1289]);
  await finish(world);
});
