// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import { layersForCpu, memoryOf, placeLayers } from "../../bench/device.ts";
import { readDeviceFlags } from "../../bench/eval/flags.ts";
import { DEFAULT_SETTINGS, NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import { planMemory } from "../../src/model/memory.ts";
import { dummyModel } from "../../src/model/source.ts";

const PLAIN = { device: "cpu", "host-attention": "gpu" };
const SHAPE = new URL("../../bench/shapes/8-layers.json", import.meta.url).pathname;

Deno.test("an evaluation runs where its flags say", () => {
  assertEquals(readDeviceFlags(PLAIN), { device: -1, hostAttention: "gpu" });
  const cuda = { ...PLAIN, device: "cuda:1", vram: "8G", memory: "4G" };
  assertEquals(readDeviceFlags({ ...cuda, "host-attention": "cpu" }), {
    device: 1,
    hostAttention: "cpu",
  });
});

Deno.test("flags that make no sense together are refused with a sentence", () => {
  const wrong: [Partial<Parameters<typeof readDeviceFlags>[0]>, string][] = [
    [{ device: "gpu" }, '--device takes cpu, cuda or cuda:N, not "gpu"'],
    [{ vram: "8G" }, "want --device cuda"],
    [{ memory: "8G" }, "want --device cuda"],
    [{ "host-attention": "cpu" }, "want --device cuda"],
    [
      { device: "cuda", "host-attention": "both" },
      '--host-attention takes gpu,cpu,split, not "both"',
    ],
  ];
  for (const [flags, why] of wrong) {
    assertThrows(() => readDeviceFlags({ ...PLAIN, ...flags }), Failure, why);
  }
});

Deno.test("as few layers as must have their KV on the host, and no more memory is planned than may be used", async () => {
  const { config } = await dummyModel(SHAPE);
  const index = { ...NO_INDEX, sketchBits: 2 as const, denseLayers: [0, 1] };
  const settings = { ...DEFAULT_SETTINGS, threads: 2, device: 0, kvBlocks: 1000, index };
  const all = memoryOf(config, settings);
  assertEquals(placeLayers(config, settings, all).hostLayers, 0);
  assertEquals(all.host, 0);
  const layer = 1000 * 8 * 128 * 2 * 128 * 2;
  // What a layer on the host frees, less what its staging takes.
  const needed = memoryOf(config, { ...settings, hostLayers: 3 });
  const less = { vram: needed.vram, host: 4 * layer };
  const placed = placeLayers(config, settings, less);
  assertEquals(placed.hostLayers, 3);
  assertEquals(memoryOf(config, placed), needed);
  const { hostWorkspaceBytes } = planMemory(config, { ...settings, hostLayers: 3 });
  assertEquals(needed.host, 3 * layer + hostWorkspaceBytes);
  assertThrows(
    () => placeLayers(config, settings, { ...less, host: 2 * layer }),
    Failure,
    "may be used",
  );
  const byCpu = { ...settings, hostAttention: "cpu" as const };
  assertEquals(layersForCpu(config, byCpu), 6);
  assertEquals(placeLayers(config, byCpu, { vram: all.vram, host: 9 * layer }, 6).hostLayers, 6);
});
