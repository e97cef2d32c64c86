// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type IndexSettings, NO_INDEX } from "../../../src/engine/settings.ts";
import { Failure } from "../../../src/errors.ts";
import {
  blockBytes,
  formatBytes,
  parseMemory,
  planMemory,
  weightBytes,
  workspaceBytes,
} from "../../../src/model/memory.ts";
import { publishedLshBytes } from "../../../src/model/index_memory.ts";
import { LLAMA_8B, SETTINGS, TINY } from "./shapes.ts";

const GiB = 2 ** 30;

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
  assertEquals(blockBytes(LLAMA_8B, SETTINGS), 128 * 131072);
  assertEquals(blockBytes(TINY, SETTINGS), 2 * 128 * 2 * 4);
  assertEquals(blockBytes(TINY, { ...SETTINGS, precision: "f32" }), 4 * 128 * 2 * 4);
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

/** Index bytes of a token, KV head and layer of Llama 8B, and what is beside the blocks. */
function indexOf(index: Partial<IndexSettings>, config = LLAMA_8B) {
  const settings = { ...SETTINGS, index: { ...NO_INDEX, ...index } };
  const { indexBytes, lshBytes, blockBytes: block } = planMemory(config, settings);
  assertEquals(block - indexBytes, blockBytes(config, SETTINGS));
  return { aKey: indexBytes / 128 / 31 / 8, lshBytes };
}

Deno.test("a sketch takes its bits a dimension, a 16-bit scale a key and a mean a block", () => {
  // The mean: 128 int16 and a float, rounded up to 64 bytes.
  assertEquals(indexOf({ sketchBits: 2 }).aKey, 2 * 128 / 8 + 2 + 320 / 128);
  assertEquals(indexOf({ sketchBits: 1 }).aKey, 128 / 8 + 2 + 320 / 128);
  assertEquals(indexOf({}).aKey, 0);
});

Deno.test("bounds of pages take two rows a page, and lie beside a sketch", () => {
  assertEquals(indexOf({ questPage: 16 }).aKey, 2 * 128 * 2 / 16);
  assertEquals(
    indexOf({ questPage: 64, sketchBits: 4 }).aKey,
    indexOf({ questPage: 64 }).aKey + indexOf({ sketchBits: 4 }).aKey,
  );
});

Deno.test("dense layers and models with a sliding window carry no index", () => {
  const { aKey } = indexOf({ sketchBits: 2 });
  assertEquals(indexOf({ sketchBits: 2, denseLayers: [0, 16] }).aKey, aKey * 30 / 31);
  assertEquals(indexOf({ sketchBits: 2 }, { ...LLAMA_8B, slidingWindow: 4096 }).aKey, 0);
});

Deno.test("lsh tables take half of the published ones and less", () => {
  const lsh = { bits: 10, tables: 150 };
  const tokens = 98_304;
  const index = { ...NO_INDEX, lsh, lshTokens: tokens };
  const { lshBytes } = indexOf(index);
  // Three segments of 32,768: ids and norms of 16 bits, 1,025 offsets of 16 bits a table.
  assertEquals(lshBytes, 31 * 8 * (tokens * 302 + 3 * 150 * 1025 * 2));
  const published = publishedLshBytes(LLAMA_8B, index, tokens);
  assertEquals(published, 32 * 8 * (tokens * 604 + 150 * 1024 * 8));
  assertEquals(lshBytes < published / 2, true);
  assertEquals(indexOf({ lshTokens: tokens }).lshBytes, 0);
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
