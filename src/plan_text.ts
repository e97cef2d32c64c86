// SPDX-License-Identifier: Apache-2.0
/** What people read of a plan: in the start message, and of the command `plan`. */
import type { AttentionPolicy } from "./engine/attention.ts";
import { BLOCK_TOKENS } from "./engine/engine.ts";
import { CPU, type HostAttention } from "./engine/settings.ts";
import { gpuSamples } from "./model/device_sampling.ts";
import { tablesOnHost } from "./model/fit.ts";
import { lshBytes, publishedLshBytes } from "./model/index_memory.ts";
import { formatBytes } from "./model/memory.ts";
import type { ModelConfig } from "./model/model.ts";
import type { ServerPlan } from "./plan.ts";

/** Answer tokens that one request reserves, for the number of requests that `plan` prints. */
const ANSWER_TOKENS = 1024;

/** "1,234,567" */
export function thousands(count: number): string {
  return Math.floor(count).toLocaleString("en-US");
}

/** Some prompt lengths up to the longest context, and how many such requests fit at once. */
function requestLines({ fit, settings }: ServerPlan): string[] {
  const lengths = [1024, 4096, 16384, 65536, 262144, 1048576].filter((n) => n < fit.context);
  return [...lengths, fit.context].map((tokens) => {
    const blocks = Math.ceil(Math.min(tokens + ANSWER_TOKENS, fit.context) / BLOCK_TOKENS);
    const requests = Math.min(settings.maxContexts, Math.max(1, Math.floor(fit.kvBlocks / blocks)));
    return `  ${thousands(tokens).padStart(11)} tokens of prompt: ${thousands(requests)} at once`;
  });
}

function kvSummary({ fit, settings }: ServerPlan): string {
  const { kvBytes, hostKvBytes } = fit;
  if (settings.device === CPU) return `${formatBytes(kvBytes)} KV cache (grows as it is used)`;
  const own = `${formatBytes(kvBytes - hostKvBytes)} KV cache on the GPU`;
  return hostKvBytes === 0 ? own : `${own} and ${formatBytes(hostKvBytes)} in host memory`;
}

/** Where the KV of the layers lies beside a GPU. */
function placementLines(config: ModelConfig, { fit, hostMemory, settings }: ServerPlan): string[] {
  const { hostLayers, kvBytes, hostKvBytes, indexBytes } = fit;
  if (settings.device === CPU) return [];
  if (hostLayers === 0) return [`  placement  all of it on the GPU: ${formatBytes(kvBytes)}`];
  const layers = (count: number) => `${count} ${count === 1 ? "layer" : "layers"}`;
  const index = (here: boolean) => indexBytes > 0 && here ? " and the index" : "";
  const { hostAttention } = settings;
  const tables = tablesOnHost(settings) && fit.lshBytes > 0
    ? `, lsh tables: ${formatBytes(fit.lshBytes)}`
    : "";
  return [
    `  placement  ${layers(config.layers - hostLayers)}${index(hostAttention !== "cpu")}` +
    ` on the GPU: ${formatBytes(kvBytes - hostKvBytes)}; ${layers(hostLayers)}` +
    `${index(hostAttention !== "gpu")} in pinned host memory: ${
      formatBytes(hostKvBytes)
    }${tables}, ` +
    `to work with: ${formatBytes(fit.hostWorkspaceBytes)}, of ${formatBytes(hostMemory)}`,
    `  attended   where sampling layers have their KV in host memory: by ${ATTENDS[hostAttention]}`,
  ];
}

/** Who attends, in words. */
const ATTENDS: Record<HostAttention, string> = {
  gpu: "the GPU",
  cpu: "the CPU",
  split: "GPU and CPU, who divide the heads by measured rates",
};

/** The two lines about memory in the start message. */
export function planSummary(plan: ServerPlan): string {
  const { fit } = plan;
  return [
    `  memory   ${formatBytes(fit.weightBytes)} weights, ${kvSummary(plan)}, ${
      fit.lshBytes > 0 ? `${formatBytes(fit.lshBytes)} lsh tables, ` : ""
    }` +
    `${formatBytes(fit.workspaceBytes)} workspace`,
    `  context  ${thousands(fit.context)} tokens, ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } over all requests`,
    `  attends  ${attentionSummary(plan.policy)}`,
    ...plan.notes.map((note) => `  note     ${note}`),
  ].join("\n");
}

/** What sampling leaves exact: "; layers 0 and 16 exactly". */
function exactLayers(layers: readonly number[]): string {
  if (layers.length === 0) return "";
  const names = [layers.slice(0, -1).join(", "), layers.at(-1)].filter((name) => name !== "");
  return `; ${layers.length === 1 ? "layer" : "layers"} ${names.join(" and ")} exactly`;
}

/** What requests get that say nothing. */
function attentionSummary({ strategy, autoFrom, budget, index, slidingWindow }: AttentionPolicy) {
  const how = (name: string) =>
    (name === "lsh"
      ? index.lsh === null ? "" : ` with K = ${index.lsh.bits}, L = ${index.lsh.tables}`
      : ` with ${Number((100 * budget).toPrecision(4))} % of the rows`) +
    exactLayers(index.denseLayers);
  if (slidingWindow > 0 || strategy === "full") return "exactly";
  if (strategy !== "auto") return `by ${strategy}${how(strategy)}`;
  const name = index.sketchBits > 0 ? "sketch" : index.lsh !== null ? "lsh" : null;
  if (name === null) return "exactly";
  return `exactly up to ${thousands(autoFrom)} tokens of prompt, beyond them by ${name}${
    how(name)
  }`;
}

/** What the index takes: beside each token's KV, and the lsh tables with what published code takes. */
function indexLines(config: ModelConfig, { fit, settings }: ServerPlan): string[] {
  const { index } = settings;
  const lines: string[] = [];
  if (fit.indexBytes > 0) {
    const names = [
      ...(index.sketchBits > 0 ? [`sketch of ${index.sketchBits} bits`] : []),
      ...(index.questPage > 0 ? [`bounds of ${index.questPage}-token pages`] : []),
    ];
    const kv = fit.blockBytes - fit.indexBytes;
    lines.push(
      `  index      ${names.join(", ")}: ${formatBytes(fit.indexBytes / BLOCK_TOKENS)} of these, ` +
        `${(100 * fit.indexBytes / kv).toFixed(1)} % of K and V`,
    );
  }
  if (index.lsh !== null && fit.lshBytes > 0) {
    const { context } = fit;
    const signs = gpuSamples(config, settings);
    const ours = lshBytes(config, index, context, signs);
    const published = publishedLshBytes(config, index, context);
    const perToken = (bytes: number) => formatBytes(bytes / context);
    lines.push(
      `  lsh        K = ${index.lsh.bits}, L = ${index.lsh.tables}: ${
        signs ? "signatures on the GPU, " : ""
      }${perToken(ours)} a token of a ` +
        `context of ${thousands(context)}, ${formatBytes(fit.lshBytes)} beside the KV cache in all`,
      `             (the published tables would take ${perToken(published)} a token)`,
    );
  }
  return lines;
}

function machineMemory({ machine, memory }: ServerPlan): string {
  const of = (free: number, total: number) => `${formatBytes(free)} of ${formatBytes(total)} free`;
  const { device } = machine;
  const own = of(machine.memoryAvailable, machine.memoryTotal);
  const gpu = device === undefined ? "" : `, on the GPU ${of(device.free, device.total)}`;
  return `${own}${gpu}; ${formatBytes(memory)}`;
}

/** What `plan` prints: weights, bytes a token, contexts, tokens. */
export function planText(config: ModelConfig, plan: ServerPlan): string {
  const { fit, machine } = plan;
  const perToken = fit.blockBytes / BLOCK_TOKENS;
  return [
    `  shape      ${config.architecture}: ${config.layers} layers, hidden ${config.hidden}, ` +
    `${config.heads} heads over ${config.kvHeads} KV heads of ${config.headDim}, ` +
    `vocabulary ${thousands(config.vocabulary)}`,
    `  machine    ${machine.cores} cores, ${machineMemory(plan)} may be used`,
    `  weights    ${formatBytes(fit.weightBytes)} in bfloat16`,
    `  workspace  ${formatBytes(fit.workspaceBytes)}${
      plan.processBytes > 0 ? `, and ${formatBytes(plan.processBytes)} for the server itself` : ""
    }`,
    `  KV cache   ${formatBytes(perToken)} a token, ${thousands(fit.kvBlocks)} blocks of ` +
    `${BLOCK_TOKENS} tokens = ${formatBytes(fit.kvBytes)}`,
    ...placementLines(config, plan),
    ...indexLines(config, plan),
    `  context    up to ${thousands(fit.context)} tokens (the model was made for ` +
    `${thousands(config.context)}), ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } tokens over all requests`,
    `  attention  ${attentionSummary(plan.policy)}`,
    ...plan.notes.map((note) => `  note       ${note}`),
    "",
    `Requests that fit at once, each with up to ${thousands(ANSWER_TOKENS)} tokens of answer:`,
    ...requestLines(plan),
  ].join("\n");
}
