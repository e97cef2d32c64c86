// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { NO_INDEX } from "../../../src/engine/settings.ts";
import { Failure } from "../../../src/errors.ts";
import { fitMemory, type FitRequest } from "../../../src/model/fit.ts";
import { placeLayers } from "../../../src/model/placement.ts";
import { LLAMA_8B, SETTINGS } from "./shapes.ts";

const GiB = 2 ** 30;
const REQUEST: FitRequest = {
  ...SETTINGS,
  device: 0,
  index: { ...NO_INDEX, sketchBits: 2 },
  memory: 24 * GiB,
  host: { bytes: 100 * GiB, asked: false },
  flag: "--vram",
  context: null,
  maxContexts: 32,
};

/** Bytes on the GPU. */
function onGpu(request: FitRequest): number {
  const { weightBytes, workspaceBytes, kvBytes, hostKvBytes } = fitMemory(LLAMA_8B, request);
  return weightBytes + workspaceBytes + kvBytes - hostKvBytes;
}

Deno.test("as few layers go to host memory as the blocks that are needed take", () => {
  const most = (hostLayers: number) => [10, 9, 12, 20, 30, 29][hostLayers]!;
  const place = (asked: boolean, needed: number, useful = 1000) =>
    placeLayers(5, { bytes: 1, asked }, most, { needed, useful });
  assertEquals(place(false, 10), { hostLayers: 0, blocks: 10 });
  assertEquals(place(false, 11), { hostLayers: 2, blocks: 12 });
  assertEquals(place(false, 99), { hostLayers: 4, blocks: 30 });
  assertEquals(place(true, 1), { hostLayers: 4, blocks: 30 });
  assertEquals(place(true, 1, 15), { hostLayers: 3, blocks: 20 });
  assertEquals(placeLayers(5, null, most, { needed: 99, useful: 99 }), {
    hostLayers: 0,
    blocks: 10,
  });
});

Deno.test("a context that the GPU holds stays there, a longer one takes host memory", () => {
  const short = fitMemory(LLAMA_8B, { ...REQUEST, context: 32768 });
  assertEquals([short.hostLayers, short.hostKvBytes], [0, 0]);
  const whole = fitMemory(LLAMA_8B, REQUEST);
  assert(whole.hostLayers === 0 && whole.context < 131072);
  const long = { ...REQUEST, context: 131072 };
  const fit = fitMemory(LLAMA_8B, long);
  assertEquals(fit.context, 131072);
  assert(fit.hostLayers > 8 && fit.hostLayers < 32, `${fit.hostLayers}`);
  assert(onGpu(long) <= 24 * GiB && fit.hostKvBytes <= 100 * GiB);
  // 512 KiB a block and layer.
  assertEquals(fit.hostKvBytes, fit.kvBlocks * fit.hostLayers * 512 * 1024);
});

Deno.test("host memory that was asked for is used for more tokens", () => {
  const asked = { ...REQUEST, host: { bytes: 48 * GiB, asked: true } };
  const fit = fitMemory(LLAMA_8B, asked), without = fitMemory(LLAMA_8B, REQUEST);
  assertEquals(fit.context, 131072);
  assert(fit.kvBlocks > 2 * without.kvBlocks && fit.hostKvBytes <= 48 * GiB);
  assert(onGpu(asked) <= 24 * GiB);
});

Deno.test("what neither memory holds is refused with both, and the flags that change it", () => {
  const request = { ...REQUEST, context: 131072, host: { bytes: 4 * GiB, asked: false } };
  const { message } = assertThrows(() => fitMemory(LLAMA_8B, request), Failure);
  for (const part of ["131072 tokens", "4.0 GiB of host memory", "--vram or --memory"]) {
    assertStringIncludes(message, part);
  }
});
