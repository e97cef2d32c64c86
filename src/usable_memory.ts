// SPDX-License-Identifier: Apache-2.0
/** What of the machine's memory, and a GPU's, a server may use, and what of it is for the process itself. */
import type { Options } from "./cli.ts";
import { CPU, type Machine } from "./engine/settings.ts";
import { Failure } from "./errors.ts";
import { parseMemory } from "./model/memory.ts";
import type { HostMemory } from "./model/placement.ts";

/**
 * What the process takes beside the engine, within `--memory`: about 110 MiB at the start, 190 with the
 * requests of 64 clients. Of very little memory a tenth.
 */
const PROCESS_BYTES = 160 * 2 ** 20;

/** Bytes that may be used: of the GPU's memory, where one computes. */
export function usableMemory(options: Options, machine: Machine): number {
  const { memoryTotal, memoryAvailable, device } = machine;
  if (options.device === CPU) {
    return parseMemory(options.memory, { total: memoryTotal, available: memoryAvailable });
  }
  if (device === undefined) throw new Failure("engine", "The GPU's memory is not known.");
  return parseMemory(options.vram, { total: device.total, available: device.free }, 0.9);
}

/** Those of them that are for the process; beside a GPU it has memory of its own. */
export function ownMemory({ device }: Options, memory: number): number {
  return device === CPU ? Math.min(PROCESS_BYTES, memory / 10) : 0;
}

/** Host memory for KV beside a GPU's; null where none computes. */
export function hostMemory({ device, memory }: Options, machine: Machine): HostMemory | null {
  if (device === CPU) return null;
  const { memoryTotal: total, memoryAvailable: available } = machine;
  return { bytes: parseMemory(memory, { total, available }), asked: memory !== null };
}
