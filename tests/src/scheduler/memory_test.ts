// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EXACT_POLICY, SERVER_ATTENTION } from "../../../src/engine/attention.ts";
import { contextTokens, prepareJob } from "../../../src/generate.ts";
import { Failure } from "../../../src/errors.ts";
import { blocksOfForks, blocksOfTokens, Ledger } from "../../../src/scheduler/memory.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { promptOf, request } from "../../fixtures/requests.ts";
import { Job } from "../../../src/scheduler/job.ts";
import { NO_INDEX } from "../../../src/engine/settings.ts";
import { job, Kept } from "./jobs.ts";

Deno.test("the formula counts the blocks that forks of a prompt really hold", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 600 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 4 }),
      async (promptTokens, answers) => {
        const engine = new FakeEngine({ maxStepTokens: 1000 });
        const step = (context: number, tokens: number) =>
          engine.step([{
            context,
            tokens: promptOf(tokens),
            sampling: null,
            choice: 0,
            promptTokens,
            alternatives: 0,
          }]);
        const root = engine.createContext();
        await step(root, promptTokens - 1);
        const contexts = [root];
        for (let i = 1; i < answers.length; i++) {
          contexts.push(engine.forkContext(root, promptTokens - 1));
        }
        for (const [i, context] of contexts.entries()) await step(context, answers[i]!);
        const lengths = answers.map((answer) => promptTokens - 1 + answer);
        assertEquals(
          blocksOfForks(promptTokens, lengths),
          engine.limits.kvBlocks - engine.usage().kvBlocksFree,
        );
      },
    ),
    { numRuns: 300, seed: 4 },
  );
});

Deno.test("a job asks for its prompt and at most 1024 tokens of each choice", () => {
  assertEquals(job({ promptTokens: 100, maxTokens: 28 }).wantedBlocks(), 1);
  assertEquals(job({ promptTokens: 100, maxTokens: 29 }).wantedBlocks(), 2);
  assertEquals(job({ promptTokens: 128, maxTokens: 5000 }).wantedBlocks(), 1 + 8);
  // Two full blocks of the prompt are shared; each choice has 256 + 1024 tokens.
  assertEquals(job({ promptTokens: 257, maxTokens: 5000, n: 3 }).wantedBlocks(), 2 + 3 * 9);
});

Deno.test("an open answer gets as many tokens as fit, and never more than fit", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3000 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 24 }),
      fc.integer({ min: 64, max: 4000 }),
      (promptTokens, n, kvBlocks, context) => {
        const { limits } = new FakeEngine({ kvBlocks, context });
        const ask = (maxTokens: number | null) =>
          prepareJob(
            request({ prompt: promptOf(promptTokens), n, maxTokens }),
            limits,
            [],
            EXACT_POLICY,
          );
        const fits = (tokens: number) =>
          promptTokens + tokens <= contextTokens(limits) &&
          blocksOfForks(promptTokens, new Array(n).fill(promptTokens + tokens)) <= kvBlocks;
        if (fits(1)) {
          const { maxTokens } = ask(null);
          assert(fits(maxTokens) && !fits(maxTokens + 1));
          assertEquals(ask(maxTokens).maxTokens, maxTokens);
          assertThrows(() => ask(maxTokens + 1), Failure);
        } else {
          assertThrows(() => ask(null), Failure);
        }
      },
    ),
    { numRuns: 2000, seed: 5 },
  );
});

Deno.test("blocks are counted whole", () => {
  assertEquals([0, 1, 128, 129].map(blocksOfTokens), [0, 1, 1, 2]);
});

Deno.test("a ledger never commits more than there is", () => {
  const ledger = new Ledger(10, 2);
  const [a, b] = [{ blocks: 0, contexts: 0 }, { blocks: 0, contexts: 0 }];
  ledger.set(a, 6, 1);
  assertEquals(ledger.fits(b, 5, 1), false);
  assertEquals(ledger.fits(b, 4, 2), false);
  assertThrows(() => ledger.set(b, 5, 1), RangeError);
  ledger.set(b, 4, 1);
  assertEquals([ledger.freeBlocks, ledger.fits(a, 6, 1), ledger.fits(a, 7, 1)], [0, true, false]);
  ledger.set(a, 0, 0);
  assertEquals([ledger.freeBlocks, ledger.fits(b, 10, 2)], [6, true]);
});

Deno.test("choices with lsh tables of their own count the prompt each, and so does what may be asked for", () => {
  const limits = new FakeEngine({ kvBlocks: 10 }).limits;
  const index = { ...NO_INDEX, lsh: { bits: 10, tables: 150 } };
  const policy = { ...EXACT_POLICY, index };
  const ask = (strategy: "full" | "lsh", maxTokens: number | null = null) =>
    prepareJob(
      request({
        prompt: promptOf(300),
        n: 2,
        maxTokens,
        attention: { ...SERVER_ATTENTION, strategy },
      }),
      limits,
      [],
      policy,
    );
  // Two full blocks are shared, and each choice has four more; or each has five.
  assertEquals(ask("full").maxTokens, 6 * 128 - 300);
  assertEquals(ask("lsh").maxTokens, 5 * 128 - 300);
  assertThrows(() => ask("lsh", 5 * 128 - 299), Failure, "tokens of memory");
  assertEquals(new Job(ask("lsh"), new Kept()).mostBlocks(), 10);
  assertEquals(new Job(ask("full"), new Kept()).mostBlocks(), 10);
});
