// SPDX-License-Identifier: Apache-2.0
/** What of the machine's memory becomes KV blocks, and how long a context may then be. */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import { CPU } from "../engine/settings.ts";
import { Failure } from "../errors.ts";
import { formatBytes, type MemoryPlan, type MemorySettings, planMemory } from "./memory.ts";
import type { ModelConfig } from "./model.ts";
import { type HostMemory, placeLayers, type Placement } from "./placement.ts";

/** Most blocks that an engine takes. */
const MOST_BLOCKS = 1 << 23;
/** Longest context that an engine takes: positions stay exact in float32. */
const MOST_CONTEXT = 1 << 24;
/** Tokens of a context that is worth serving. */
const USEFUL_CONTEXT = 1024;

/** What is to fit into memory. */
export interface FitRequest extends Omit<MemorySettings, "kvBlocks" | "context" | "hostLayers"> {
  /** Bytes that weights, KV blocks, their index and workspace may take together, where they are computed. */
  memory: number;
  /** What KV may take of host memory beside that; null: it all lies with what computes. */
  host: HostMemory | null;
  /** Layers whose KV lies there at least. */
  leastHostLayers?: number;
  /** Longest context in tokens; null: as long as the model's, as far as memory goes. */
  context: number | null;
  /** The flag that says how much memory. */
  flag: "--memory" | "--vram";
  /** Contexts that may exist at once. */
  maxContexts: number;
}

/** How memory is used. */
export interface MemoryFit extends MemoryPlan {
  kvBlocks: number;
  /** Longest context in tokens. */
  context: number;
  /** Tokens that `lsh` tables may cover: all that the blocks hold. */
  lshTokens: number;
  /** Layers whose KV a GPU finds in host memory. */
  hostLayers: number;
}

/** The plan with so many blocks: the longest context that they hold, and `lsh` tables for every token. */
function planOf(
  config: ModelConfig,
  request: FitRequest,
  kvBlocks: number,
  hostLayers: number,
): MemoryFit {
  const tokens = kvBlocks * BLOCK_TOKENS;
  const context = Math.max(1, Math.min(wantedContext(config, request), tokens));
  const lshTokens = request.index.lsh === null ? 0 : tokens;
  const index = { ...request.index, lshTokens };
  const plan = planMemory(config, { ...request, kvBlocks, context, hostLayers, index });
  return { ...plan, kvBlocks, context, lshTokens, hostLayers };
}

function wantedContext(config: ModelConfig, { context }: FitRequest): number {
  return Math.min(context ?? config.context, MOST_CONTEXT);
}

/** What a plan takes of host memory beside a GPU: none that is planned, where no KV lies there. */
function hostBytes(plan: MemoryPlan & { hostLayers: number }, tables: boolean): number {
  if (plan.hostLayers === 0) return 0;
  return plan.hostKvBytes + plan.hostWorkspaceBytes + (tables ? plan.lshBytes : 0);
}

/** `lsh` tables lie with who attends by them. */
export function tablesOnHost(
  { device, hostAttention }: Pick<MemorySettings, "device" | "hostAttention">,
): boolean {
  return device !== CPU && hostAttention === "cpu";
}

function fits(plan: MemoryFit, request: FitRequest): boolean {
  const { weightBytes, workspaceBytes, kvBytes, lshBytes, hostKvBytes } = plan;
  const tables = tablesOnHost(request);
  return weightBytes + workspaceBytes + kvBytes - hostKvBytes + (tables ? 0 : lshBytes) <=
      request.memory && hostBytes(plan, tables) <= (request.host?.bytes ?? 0);
}

/** The most blocks that fit; 0 when none does. Everything grows with their number. */
function mostBlocks(config: ModelConfig, request: FitRequest, hostLayers: number): number {
  let [fitting, beyond] = [0, MOST_BLOCKS + 1];
  while (beyond - fitting > 1) {
    const middle = Math.floor((fitting + beyond) / 2);
    if (fits(planOf(config, request, middle, hostLayers), request)) fitting = middle;
    else beyond = middle;
  }
  return fitting;
}

/**
 * Decides how many KV blocks there are and how long a context may be.
 * @throws {Failure} kind `memory` with figures when weights or one context of useful length don't fit
 */
export function fitMemory(config: ModelConfig, request: FitRequest): MemoryFit {
  const wanted = wantedContext(config, request);
  const needed = request.context === null ? Math.min(wanted, USEFUL_CONTEXT) : wanted;
  const least = Math.ceil(needed / BLOCK_TOKENS);
  // More blocks than all contexts at full length could never be used.
  const useful = (tokens: number) => request.maxContexts * Math.ceil(tokens / BLOCK_TOKENS);
  const placement = placeLayers(
    config.layers,
    request.host,
    (hostLayers) => mostBlocks(config, request, hostLayers),
    { needed: least, useful: useful(wanted), least: request.leastHostLayers ?? 0 },
  );
  const { blocks, hostLayers } = placement;
  if (blocks === 0) refuseModel(config, request, hostLayers);
  if (blocks < least) refuseContext(config, request, placement, least);
  const { context } = planOf(config, request, blocks, hostLayers);
  return planOf(config, request, Math.min(blocks, useful(context)), hostLayers);
}

/** Unless it is host memory that lacks. */
function refuseModel(config: ModelConfig, request: FitRequest, hostLayers: number): void {
  const { weightBytes, workspaceBytes } = planOf(config, request, 0, hostLayers);
  if (hostLayers > 0 && weightBytes + workspaceBytes <= request.memory) return;
  throw new Failure(
    "memory",
    `The model takes ${formatBytes(weightBytes)} for weights and ` +
      `${formatBytes(workspaceBytes)} for a step, but ${formatBytes(request.memory)} may be ` +
      `used. Give it more with ${request.flag}, or take a smaller model.`,
  );
}

function refuseContext(
  config: ModelConfig,
  request: FitRequest,
  { blocks, hostLayers }: Placement,
  least: number,
): never {
  const plan = planOf(config, request, least, hostLayers);
  const { kvBytes, lshBytes, weightBytes, workspaceBytes, context } = plan;
  const { host } = request;
  throw new Failure(
    "memory",
    `A context of ${context} tokens takes ${formatBytes(kvBytes + lshBytes)} of KV cache` +
      `${lshBytes > 0 ? " and lsh tables" : ""}, but beside ${
        formatBytes(weightBytes)
      } of weights ` +
      `and ${formatBytes(workspaceBytes)} for a step ` +
      `${formatBytes(Math.max(0, request.memory - weightBytes - workspaceBytes))} are left` +
      `${host === null ? "" : ` on the GPU, and ${formatBytes(host.bytes)} of host memory`}, ` +
      `enough for ${blocks * BLOCK_TOKENS} tokens. Ask for a shorter one with --context, or give ` +
      `more with ${request.flag}${host === null ? "" : " or --memory"}.`,
  );
}
