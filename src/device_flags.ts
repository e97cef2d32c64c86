// SPDX-License-Identifier: Apache-2.0
/** The flags of the command line that say what computes, and with how much of its memory. */
import { CPU, HOST_ATTENTION, type HostAttention, parseDevice } from "./engine/settings.ts";
import { parseSize } from "./model/memory.ts";

/** The flags in the order of the help text. */
export const DEVICE_FLAGS: Record<string, { value: string; help: string }> = {
  "device": { value: "NAME", help: "what computes: cpu, cuda or cuda:N (default: cpu)" },
  "vram": {
    value: "SIZE",
    help: "with cuda: memory of the GPU for weights and KV cache (default: 90% of what is free)",
  },
  "host-attention": {
    value: "NAME",
    help:
      "with cuda: who attends where sampling layers have their KV in host memory: gpu, cpu (puts " +
      "them all there; any --index), split (both, heads divided by measured rates; default: gpu)",
  },
};

/** What they say of a device and of its memory. `invalid` throws. */
export function readDevice(
  text: (name: string) => string | null,
  deterministic: boolean,
  invalid: (sentence: string) => never,
): { device: number; vram: string | null; hostAttention: HostAttention } {
  const name = text("device") ?? "cpu";
  const device = parseDevice(name) ?? invalid(`--device takes cpu, cuda or cuda:N, not "${name}"`);
  const vram = memorySize("vram", text("vram"), invalid);
  if (device === CPU && vram !== null) invalid("--vram is for a GPU: --device cuda");
  if (device !== CPU && deterministic) {
    invalid("On a GPU results depend on what else runs: --deterministic is for the CPU");
  }
  const who = text("host-attention");
  if (device === CPU && who !== null) invalid("--host-attention is for a GPU: --device cuda");
  const hostAttention = who === null ? "gpu" : HOST_ATTENTION.find((known) => known === who) ??
    invalid(`--host-attention takes ${HOST_ATTENTION.join(", ")}, not "${who}"`);
  return { device, vram, hostAttention };
}

/** Whether it is a size or a share; of what is seen when the machine is known. */
export function memorySize(
  name: string,
  text: string | null,
  invalid: (sentence: string) => never,
): string | null {
  if (text === null || text.trim().endsWith("%")) return text;
  try {
    parseSize(text);
    return text;
  } catch {
    return invalid(`--${name} takes a size as 12GiB or 800M, or a share as 50%, not "${text}"`);
  }
}
