// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { configInts } from "../../ffi/configure.ts";
import { deviceMemory, type Library, machineFigures, openLibrary } from "../../ffi/library.ts";
import * as abi from "../../ffi/symbols.ts";
import {
  CPU,
  DEFAULT_SETTINGS,
  type EngineSettings,
  HOST_ATTENTION,
  type IndexSettings,
  NO_INDEX,
} from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import { planMemory } from "../../src/model/memory.ts";
import type { ModelConfig } from "../../src/model/model.ts";

function nativePlan(
  { symbols }: Library,
  config: ModelConfig,
  settings: EngineSettings,
): number[] | null {
  const ints = configInts(config, settings);
  const figures = new BigInt64Array(abi.PLAN_COUNT);
  const status = symbols.sounder_plan_memory(ints, ints.length, figures, figures.length);
  return status === abi.OK ? Array.from(figures, Number) : null;
}

const shapes: fc.Arbitrary<ModelConfig> = fc.record({
  layers: fc.integer({ min: 1, max: 80 }),
  hidden: fc.integer({ min: 8, max: 8192 }),
  intermediate: fc.integer({ min: 8, max: 28672 }),
  kvHeads: fc.integer({ min: 1, max: 16 }),
  group: fc.integer({ min: 1, max: 40 }),
  headDim: fc.integer({ min: 1, max: 128 }).map((half) => 2 * half),
  vocabulary: fc.integer({ min: 2, max: 256_000 }),
  tiedOutput: fc.boolean(),
  qkvBias: fc.boolean(),
  qkNorm: fc.boolean(),
  slidingWindow: fc.constantFrom(0, 0, 0, 4096),
}).map(({ group, ...shape }) => ({
  ...shape,
  architecture: "llama",
  heads: group * shape.kvHeads,
  context: 1 << 20,
  normEpsilon: 1e-5,
  rope: { frequencies: new Float32Array(shape.headDim / 2).fill(1), scale: 1 },
}));

const indexes: fc.Arbitrary<IndexSettings> = fc.record({
  sketchBits: fc.constantFrom(0 as const, 1 as const, 2 as const, 4 as const),
  sketchCentring: fc.constantFrom("block" as const, "context" as const, "off" as const),
  lsh: fc.option(
    fc.record({
      bits: fc.integer({ min: 1, max: 15 }),
      tables: fc.integer({ min: 1, max: 1000 }),
    }),
  ),
  lshCentring: fc.constantFrom("context" as const, "off" as const),
  lshTokens: fc.integer({ min: 0, max: 1 << 22 }),
  questPage: fc.constantFrom(0 as const, 16 as const, 32 as const, 64 as const),
  yardsticks: fc.boolean(),
  sink: fc.integer({ min: 0, max: 64 }),
  window: fc.integer({ min: 1, max: 4096 }),
  leastRows: fc.constant(256),
  denseLayers: fc.constantFrom([], [0]),
  seed: fc.integer(),
});

const settings: fc.Arbitrary<EngineSettings> = fc.record({
  index: indexes,
  precision: fc.constantFrom("bf16" as const, "f32" as const),
  threads: fc.integer({ min: 1, max: 64 }),
  kvBlocks: fc.integer({ min: 1, max: 100_000 }),
  context: fc.integer({ min: 1, max: 1 << 20 }),
  maxStepTokens: fc.integer({ min: 32, max: 4096 }),
  maxStepSequences: fc.integer({ min: 1, max: 32 }),
  hostLayers: fc.integer({ min: 0, max: 80 }),
  maxContexts: fc.integer({ min: 1, max: 256 }),
  hostAttention: fc.constantFrom(...HOST_ATTENTION),
}).map((some) => ({ ...DEFAULT_SETTINGS, ...some, device: CPU }));

/** On a GPU: every other shape has kernels, those of lsh and yardsticks for groups of up to 8. */
const onDevice = fc.tuple(shapes, settings, fc.boolean()).map(([config, some, sampled]) => {
  if (!sampled) return [config, { ...some, device: 0, index: NO_INDEX }] as const;
  // Where the CPU attends every index and shape will do.
  if (some.maxContexts % 2 === 1) {
    const { hostLayers: _, ...rest } = some;
    const whole = { device: 0, hostLayers: config.layers, hostAttention: "cpu" as const };
    return [config, { ...rest, ...whole }] as const;
  }
  const headDim = Math.ceil(config.headDim / 8) * 8;
  const rope = { frequencies: new Float32Array(headDim / 2).fill(1), scale: 1 };
  const large = config.heads / config.kvHeads > 8;
  const index = {
    ...some.index,
    ...(large ? { questPage: 0 as const, yardsticks: false } : {}),
    // GPU and CPU divide neither heads nor layers with lsh.
    ...(large || some.hostAttention !== "gpu" ? { lsh: null, lshTokens: 0 } : {}),
  };
  return [{ ...config, headDim, rope }, {
    ...some,
    device: 0,
    precision: "bf16" as const,
    index,
  }] as const;
});

Deno.test("src/ and native/ state the same memory formula", () => {
  const library = openLibrary();
  fc.assert(
    fc.property(fc.oneof(fc.tuple(shapes, settings), onDevice), ([config, asked]) => {
      const hostLayers = asked.device === CPU ? 0 : Math.min(asked.hostLayers, config.layers);
      const hostAttention = asked.device === CPU ? "gpu" as const : asked.hostAttention;
      const some = { ...asked, hostLayers, hostAttention };
      const plan = planMemory(config, some);
      assertEquals(nativePlan(library, config, some), [
        plan.weightBytes,
        plan.blockBytes,
        plan.kvBytes,
        plan.workspaceBytes,
        plan.indexBytes,
        plan.lshBytes,
        plan.hostKvBytes,
        plan.hostWorkspaceBytes,
      ]);
    }),
    { numRuns: 500, seed: 1 },
  );
  library.close();
});

Deno.test("impossible figures have no plan", () => {
  const [config] = fc.sample(shapes, { numRuns: 1, seed: 2 });
  const library = openLibrary();
  assertEquals(nativePlan(library, { ...config!, layers: 0 }, DEFAULT_SETTINGS), null);
  assertEquals(nativePlan(library, { ...config!, headDim: 258 }, DEFAULT_SETTINGS), null);
  library.close();
});

Deno.test("a GPU that is not there is refused with a sentence", () => {
  const library = openLibrary();
  const { message } = assertThrows(() => deviceMemory(library, 999), Failure);
  library.close();
  assertMatch(message, /^Cannot use (a GPU: .*|GPU 999: this machine has \d+, counted from 0)\.$/);
});

Deno.test("the machine has memory and cores, and no more is free than there is", () => {
  const library = openLibrary();
  const machine = machineFigures(library);
  library.close();
  assert(machine.cores >= 1 && machine.cores <= navigator.hardwareConcurrency);
  assert(machine.memoryAvailable > 0 && machine.memoryAvailable <= machine.memoryTotal);
});
