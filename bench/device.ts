// SPDX-License-Identifier: Apache-2.0
/** The device that a bench or an evaluation runs on, and how its engines share out the memory there. */
import { deviceMemory, machineFigures, openLibrary } from "../ffi/library.ts";
import { CPU, type EngineSettings, parseDevice } from "../src/engine/settings.ts";
import { Failure } from "../src/errors.ts";
import { gpuSamples } from "../src/model/device_sampling.ts";
import { samplingLayers } from "../src/model/index_memory.ts";
import { formatBytes, parseSize, planMemory } from "../src/model/memory.ts";
import type { ModelConfig } from "../src/model/model.ts";

/** Bytes of the GPU's memory and of the host's. */
export interface Memory {
  vram: number;
  host: number;
}

/** "cpu", "cuda" or "cuda:1". @throws {Failure} `invalid` */
export function deviceOf(name: string): number {
  const device = parseDevice(name);
  if (device !== null) return device;
  throw new Failure("invalid", `--device takes cpu, cuda or cuda:N, not "${name}".`);
}

/** What may be used now, where flags don't say: all but a little of the GPU, and a share of the host's. */
export function freeMemory(device: number, vram?: string, memory?: string): Memory {
  const library = openLibrary();
  try {
    const free = device === CPU ? 0 : 0.98 * deviceMemory(library, device).free;
    return {
      vram: vram === undefined ? free : Math.min(free, parseSize(vram)),
      host: memory === undefined
        ? 0.85 * machineFigures(library).memoryAvailable
        : parseSize(memory),
    };
  } finally {
    library.close();
  }
}

/** What an engine takes. */
export function memoryOf(config: ModelConfig, settings: EngineSettings): Memory {
  const plan = planMemory(config, settings);
  const all = plan.weightBytes + plan.workspaceBytes + plan.kvBytes;
  if (settings.device === CPU) return { vram: 0, host: all + plan.lshBytes };
  const onGpu = gpuSamples(config, settings) ? plan.lshBytes : 0;
  return {
    vram: all - plan.hostKvBytes + onGpu,
    host: settings.hostLayers === 0
      ? 0
      : plan.hostKvBytes + plan.hostWorkspaceBytes + plan.lshBytes - onGpu,
  };
}

/**
 * The settings with the KV of as few layers on the host as fits, and at least `least`.
 * @throws {Failure} `memory` with what it takes where nothing fits
 */
export function placeLayers(
  config: ModelConfig,
  settings: EngineSettings,
  free: Memory,
  least = 0,
): EngineSettings {
  let taken: Memory = { vram: 0, host: 0 };
  for (let hostLayers = least; hostLayers <= config.layers; ++hostLayers) {
    taken = memoryOf(config, { ...settings, hostLayers });
    if (taken.vram <= free.vram && taken.host <= free.host) return { ...settings, hostLayers };
  }
  throw new Failure(
    "memory",
    `The engine takes ${formatBytes(taken.vram)} of the GPU's memory and ${
      formatBytes(taken.host)
    } of the host's, if all KV lies there; ${formatBytes(free.vram)} and ${
      formatBytes(free.host)
    } may be used.`,
  );
}

/** Layers whose KV must lie on the host, because it is the CPU that attends there. */
export function layersForCpu(config: ModelConfig, settings: EngineSettings): number {
  const { hostAttention, index } = settings;
  return hostAttention === "gpu" ? 0 : samplingLayers(config, index);
}
