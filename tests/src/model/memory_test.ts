// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Failure } from "../../../src/errors.ts";
import { parseConfig } from "../../../src/model/config.ts";
import {
  blockBytes,
  fitMemory,
  type FitRequest,
  formatBytes,
  parseMemory,
  planMemory,
  weightBytes,
  workspaceBytes,
} from "../../../src/model/memory.ts";
import type { ModelConfig } from "../../../src/model/model.ts";

const GiB = 2 ** 30;

function configOf(extra: object): ModelConfig {
  const base = { model_type: "llama", max_position_embeddings: 32768 };
  return parseConfig(JSON.stringify({ ...base, ...extra }), "config.json").config;
}

const LLAMA_8B = configOf({
  vocab_size: 128256,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
});
const TINY = configOf({
  vocab_size: 10,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
});
const SETTINGS = {
  precision: "bf16" as const,
  threads: 2,
  kvBlocks: 10,
  maxStepTokens: 512,
  maxStepSequences: 16,
};

Deno.test("weightBytes counts every weight once", () => {
  // 8,030,261,248 parameters, of which 65 × 4,096 in norms are float32.
  assertEquals(weightBytes(LLAMA_8B, "bf16"), 2 * 8_030_261_248 + 2 * 65 * 4096);
  assertEquals(weightBytes(LLAMA_8B, "f32"), 4 * 8_030_261_248);
  const tied = { ...LLAMA_8B, tiedOutput: true };
  assertEquals(weightBytes(LLAMA_8B, "bf16") - weightBytes(tied, "bf16"), 2 * 128256 * 4096);
});

Deno.test("weightBytes counts biases and norms of q and k", () => {
  const plain = weightBytes(TINY, "bf16");
  assertEquals(weightBytes({ ...TINY, qkvBias: true }, "bf16") - plain, 4 * (8 + 2 * 4));
  assertEquals(weightBytes({ ...TINY, qkNorm: true }, "bf16") - plain, 4 * 2 * 4);
});

Deno.test("blockBytes is 128 tokens of K and V over all layers", () => {
  assertEquals(blockBytes(LLAMA_8B, "bf16"), 128 * 131072);
  assertEquals(blockBytes(TINY, "bf16"), 2 * 128 * 2 * 4);
  assertEquals(blockBytes(TINY, "f32"), 4 * 128 * 2 * 4);
});

Deno.test("workspaceBytes is the sum that the formula states", () => {
  // By hand for TINY: activations 2·8 + 4 + max(16 + 8, 12) floats a token.
  const step = 4 * 512 * (16 + 4 + 24) + 4 * 64 * 10 + 24 * 2 * 10;
  const matmul = 2 * (4 * 64 * (8 + 1024) + 4 * 64 * 512) + 2 * 512 * 8;
  const attention = 2 * 4 * (512 * 32 + 17408) + 16 * (4 * 128 * 2 * 6 + 4 * 1 + 256);
  assertEquals(workspaceBytes(TINY, SETTINGS), step + matmul + attention);
});

Deno.test("workspaceBytes rounds up where buffers do, and caps the rows of logits", () => {
  const of = (maxStepTokens: number) => workspaceBytes(TINY, { ...SETTINGS, maxStepTokens });
  assertEquals(of(2) - of(1), 4 * 44 + 4 * 10);
  assertEquals(of(33) - of(32), 4 * 44 + 4 * 10 + 2 * 32 * 8);
  assertEquals(of(66) - of(65), 4 * 44);
});

Deno.test("planMemory is linear in blocks", () => {
  const { blockBytes: block, kvBytes } = planMemory(LLAMA_8B, { ...SETTINGS, kvBlocks: 77 });
  assertEquals(kvBytes, 77 * block);
});

const MACHINE = { total: 16 * GiB, available: 10 * GiB };

Deno.test("parseMemory reads sizes, shares and nothing", () => {
  const bytes = (text: string | null) => parseMemory(text, MACHINE);
  assertEquals(bytes("12GiB"), 12 * GiB);
  assertEquals(bytes("12G"), 12 * GiB);
  assertEquals(bytes("12gb"), 12e9);
  assertEquals(bytes("800M"), 800 * 2 ** 20);
  assertEquals(bytes("1.5 GiB"), 1.5 * GiB);
  assertEquals(bytes("4096"), 4096);
  assertEquals(bytes("1000000b"), 1_000_000);
  assertEquals(bytes("50%"), 5 * GiB);
  assertEquals(bytes(null), 8 * GiB);
});

Deno.test("parseMemory refuses what is no size and what the machine has not", () => {
  for (const text of ["", "12X", "-1G", "1e9", "0", "0%", "101%", "GiB", "1..5G", "Infinity"]) {
    assertEquals(assertThrows(() => parseMemory(text, MACHINE), Failure).kind, "invalid", text);
  }
  const { message, kind } = assertThrows(() => parseMemory("17GiB", MACHINE), Failure);
  assertEquals(kind, "memory");
  assertStringIncludes(message, "17GiB is more memory than there is: 16.0 GiB");
});

Deno.test("formatBytes takes the unit that reads best", () => {
  assertEquals(
    [0, 1023, 1024, 1536, 150 * 1024, 5 * GiB, 3000 * 1024 * GiB].map(formatBytes),
    ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "150 KiB", "5.0 GiB", "3000 TiB"],
  );
});

const REQUEST: FitRequest = { ...SETTINGS, memory: 24 * GiB, context: null, maxContexts: 32 };

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
  for (const part of ["131072 tokens takes 16.0 GiB", `${fit.context} tokens`, "--context"]) {
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
      assert(fit.weightBytes + fit.workspaceBytes + fit.kvBytes <= size.memory);
      assert(fit.context <= 128 * fit.kvBlocks);
      assert(fit.kvBlocks <= size.maxContexts * Math.ceil(fit.context / 128));
      assertEquals(fit.context, size.context ?? fit.context);
    }),
    { seed: 11, numRuns: 500 },
  );
});
