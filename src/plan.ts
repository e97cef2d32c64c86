// SPDX-License-Identifier: Apache-2.0
/** What the command line, the model and the machine make of each other, before anything is loaded. */
import type { Options } from "./cli.ts";
import { BLOCK_TOKENS } from "./engine/engine.ts";
import { type EngineSettings, type Machine, NO_INDEX } from "./engine/settings.ts";
import { fitMemory, type MemoryFit } from "./model/fit.ts";
import { formatBytes, parseMemory } from "./model/memory.ts";
import type { ModelConfig } from "./model/model.ts";

/** Tokens of the largest step: long enough for full speed of the matrix products. */
const MAX_STEP_TOKENS = 2048;
/** Contexts in a step: beyond 16 rows decode leaves the kernels that stream the weights once. */
const MAX_STEP_SEQUENCES = 32;
/** Contexts at once: those in steps, and those that pause with their KV kept. */
const MAX_CONTEXTS = 256;
/** Answer tokens that one request reserves, for the number of requests that `plan` prints. */
const ANSWER_TOKENS = 1024;

/** How a server will use the machine. */
export interface ServerPlan {
  settings: EngineSettings;
  fit: MemoryFit;
  /** Bytes that may be used. */
  memory: number;
  machine: Machine;
}

/**
 * Settings of the engine for a model on a machine.
 * @throws {Failure} kind `memory` or `invalid` with the figures, when it doesn't fit
 */
export function planFor(config: ModelConfig, options: Options, machine: Machine): ServerPlan {
  const memory = parseMemory(options.memory, {
    total: machine.memoryTotal,
    available: machine.memoryAvailable,
  });
  const limits = {
    precision: "bf16" as const,
    threads: options.threads === 0 ? machine.cores : options.threads,
    maxStepTokens: MAX_STEP_TOKENS,
    maxStepSequences: MAX_STEP_SEQUENCES,
    maxContexts: MAX_CONTEXTS,
    index: NO_INDEX,
  };
  const fit = fitMemory(config, { ...limits, memory, context: options.context });
  return {
    settings: {
      ...limits,
      kvBlocks: fit.kvBlocks,
      context: fit.context,
      deterministic: options.deterministic,
      dummySeed: 0,
    },
    fit,
    memory,
    machine,
  };
}

function thousands(count: number): string {
  return Math.floor(count).toLocaleString("en-US");
}

/** Some prompt lengths up to the longest context, and how many such requests fit at once. */
function requestLines({ fit }: ServerPlan): string[] {
  const lengths = [1024, 4096, 16384, 65536, 262144, 1048576].filter((n) => n < fit.context);
  return [...lengths, fit.context].map((tokens) => {
    const blocks = Math.ceil(Math.min(tokens + ANSWER_TOKENS, fit.context) / BLOCK_TOKENS);
    const requests = Math.min(MAX_CONTEXTS, Math.max(1, Math.floor(fit.kvBlocks / blocks)));
    return `  ${thousands(tokens).padStart(11)} tokens of prompt: ${thousands(requests)} at once`;
  });
}

/** The two lines about memory in the start message. */
export function planSummary(plan: ServerPlan): string {
  const { fit } = plan;
  return [
    `  memory   ${formatBytes(fit.weightBytes)} weights, ${formatBytes(fit.kvBytes)} KV cache ` +
    `(grows as it is used), ${formatBytes(fit.workspaceBytes)} workspace`,
    `  context  ${thousands(fit.context)} tokens, ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } over all requests`,
  ].join("\n");
}

/** What `plan` prints: weights, bytes a token, contexts, tokens. */
export function planText(config: ModelConfig, plan: ServerPlan): string {
  const { fit, machine } = plan;
  const perToken = fit.blockBytes / BLOCK_TOKENS;
  return [
    `  shape      ${config.architecture}: ${config.layers} layers, hidden ${config.hidden}, ` +
    `${config.heads} heads over ${config.kvHeads} KV heads of ${config.headDim}, ` +
    `vocabulary ${thousands(config.vocabulary)}`,
    `  machine    ${machine.cores} cores, ${formatBytes(machine.memoryAvailable)} of ` +
    `${formatBytes(machine.memoryTotal)} free; ${formatBytes(plan.memory)} may be used`,
    `  weights    ${formatBytes(fit.weightBytes)} in bfloat16`,
    `  workspace  ${formatBytes(fit.workspaceBytes)}`,
    `  KV cache   ${formatBytes(perToken)} a token, ${thousands(fit.kvBlocks)} blocks of ` +
    `${BLOCK_TOKENS} tokens = ${formatBytes(fit.kvBytes)}`,
    `  context    up to ${thousands(fit.context)} tokens (the model was made for ` +
    `${thousands(config.context)}), ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } tokens over all requests`,
    "",
    `Requests that fit at once, each with up to ${thousands(ANSWER_TOKENS)} tokens of answer:`,
    ...requestLines(plan),
  ].join("\n");
}
