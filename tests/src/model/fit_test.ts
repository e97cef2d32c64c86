// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { NO_INDEX } from "../../../src/engine/settings.ts";
import { Failure } from "../../../src/errors.ts";
import { fitMemory, type FitRequest } from "../../../src/model/fit.ts";
import { planMemory } from "../../../src/model/memory.ts";
import { LLAMA_8B, SETTINGS, TINY } from "./shapes.ts";

const GiB = 2 ** 30;
const INDEXES = [
  NO_INDEX,
  { ...NO_INDEX, sketchBits: 2 as const },
  { ...NO_INDEX, lsh: { bits: 10, tables: 150 } },
];
const REQUEST: FitRequest = {
  ...SETTINGS,
  memory: 24 * GiB,
  host: null,
  flag: "--memory",
  context: null,
  maxContexts: 32,
};

Deno.test("fitMemory gives the whole context where it fits, and not more blocks than contexts can use", () => {
  const fit = fitMemory(TINY, { ...REQUEST, maxContexts: 3 });
  assertEquals([fit.context, fit.kvBlocks], [32768, 3 * 256]);
  assertEquals(fit.kvBytes, fit.kvBlocks * fit.blockBytes);
});

Deno.test("fitMemory shortens the context to what memory holds, unless it was asked for", () => {
  const fit = fitMemory(LLAMA_8B, REQUEST);
  assert(fit.context < 131072 && fit.context === 128 * fit.kvBlocks, `${fit.context}`);
  const asked = fitMemory(LLAMA_8B, { ...REQUEST, context: 8000 });
  assertEquals([asked.context, asked.kvBlocks], [8000, fit.kvBlocks]);
  const { message, kind } = assertThrows(
    () => fitMemory(LLAMA_8B, { ...REQUEST, context: 131072 }),
    Failure,
  );
  assertEquals(kind, "memory");
  for (
    const part of [
      "131072 tokens takes 16.0 GiB",
      "beside 15.0 GiB of weights and",
      `${fit.context} tokens`,
      "--context",
    ]
  ) {
    assertStringIncludes(message, part);
  }
});

Deno.test("fitMemory says when weights or a useful context do not fit", () => {
  const refuses = (memory: number, ...parts: string[]) => {
    const { message, kind } = assertThrows(
      () => fitMemory(LLAMA_8B, { ...REQUEST, memory }),
      Failure,
    );
    assertEquals(kind, "memory");
    for (const part of parts) assertStringIncludes(message, part);
  };
  refuses(8 * GiB, "15.0 GiB for weights", "8.0 GiB", "smaller model");
  const { weightBytes: weights, workspaceBytes: work, blockBytes: block } = planMemory(
    LLAMA_8B,
    SETTINGS,
  );
  refuses(weights + work + 7 * block, "context of 1024 tokens", "enough for 896 tokens");
  assertEquals(
    fitMemory(LLAMA_8B, { ...REQUEST, memory: weights + work + 8 * block }).context,
    1024,
  );
});

Deno.test("fitMemory never plans more than it may use, nor a context that the blocks don't hold", () => {
  const sizes = fc.record({
    memory: fc.integer({ min: 0, max: 64 }).map((n) => n * GiB / 2),
    context: fc.option(fc.integer({ min: 16, max: 1 << 24 })),
    maxContexts: fc.integer({ min: 1, max: 64 }),
    threads: fc.integer({ min: 1, max: 64 }),
    index: fc.constantFrom(...INDEXES),
  });
  fc.assert(
    fc.property(fc.constantFrom(TINY, LLAMA_8B), sizes, (config, size) => {
      let fit;
      try {
        fit = fitMemory(config, { ...REQUEST, ...size });
      } catch (error) {
        assert(error instanceof Failure && error.kind === "memory");
        return;
      }
      const { weightBytes, workspaceBytes, kvBytes, lshBytes } = fit;
      assert(weightBytes + workspaceBytes + kvBytes + lshBytes <= size.memory);
      assertEquals(fit.lshTokens, size.index.lsh === null ? 0 : 128 * fit.kvBlocks);
      const index = { ...size.index, lshTokens: fit.lshTokens };
      const settings = { ...REQUEST, ...size, ...fit, index };
      assertEquals({ ...fit, ...planMemory(config, settings) }, fit);
      assert(fit.context <= 128 * fit.kvBlocks);
      assert(fit.kvBlocks <= size.maxContexts * Math.ceil(fit.context / 128));
      assertEquals(fit.context, size.context ?? fit.context);
    }),
    { seed: 11, numRuns: 500 },
  );
});
