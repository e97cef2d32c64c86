// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../src/cli.ts";
import { Failure } from "../../src/errors.ts";
import { planFor } from "../../src/plan.ts";
import { planSummary, planText } from "../../src/plan_text.ts";
import type { ModelConfig } from "../../src/model/model.ts";
import { openModel } from "../../src/model/source.ts";
import { LLAMA_8B } from "./model/shapes.ts";

const RECALL = new URL("../../models/recall", import.meta.url).pathname;
const GIB = 2 ** 30;
const MACHINE = { memoryTotal: 24 * GIB, memoryAvailable: 20 * GIB, cores: 2 };
const { config } = await openModel(RECALL);

function plan(...args: string[]) {
  return planOf(config, ...args);
}

function planOf(some: ModelConfig, ...args: string[]) {
  return planFor(some, parseCommandLine(args, { model: RECALL, apiKey: null }), MACHINE);
}

Deno.test("what is planned stays within the memory that may be used", () => {
  for (const memory of ["256MiB", "1GiB", "50%", "16GiB"]) {
    const { fit, memory: budget, processBytes } = plan("--memory", memory);
    assert(processBytes >= Math.min(0.1 * budget, 160 * 2 ** 20), memory);
    assert(fit.weightBytes + fit.workspaceBytes + fit.kvBytes <= budget - processBytes, memory);
    assert(fit.kvBlocks > 0);
  }
});

Deno.test("the context is the model's, what was asked for, or what memory holds", () => {
  assertEquals(plan().settings.context, config.context);
  assertEquals(plan("--context", "4096").settings.context, 4096);
  assert(plan("--memory", "160MiB").settings.context < config.context);
});

function planOnGpu(some: ModelConfig, ...args: string[]) {
  return planFor(
    some,
    parseCommandLine(["--device=cuda:1", ...args], { model: RECALL, apiKey: null }),
    { ...MACHINE, device: { total: 80 * GIB, free: 78 * GIB } },
  );
}

Deno.test("on a GPU its memory is planned, with sketches as on the CPU", () => {
  const whole = planOnGpu(config);
  assertEquals([whole.settings.device, whole.memory], [1, Math.floor(0.9 * 78 * GIB)]);
  assertEquals(whole.settings.index, plan().settings.index);
  assertEquals(whole.fit.indexBytes, plan().fit.indexBytes);
  assertStringIncludes(planText(config, whole), "on the GPU 78.0 GiB of 80.0 GiB free; 70.2 GiB");
  assertStringIncludes(planText(config, whole), "beyond them by sketch with 2 %");
  assertEquals(planOnGpu(config, "--vram", "2GiB").memory, 2 * GIB);
  assertThrows(() => planOnGpu(config, "--vram", "8MiB"), Failure, "--vram");
});

Deno.test("a context that the GPU doesn't hold goes to host memory in part, and the plan says so", () => {
  const placed = planOnGpu(LLAMA_8B, "--vram=24GiB", "--context=131072");
  const { settings, fit } = placed;
  assert(settings.hostLayers > 0 && settings.hostLayers === fit.hostLayers);
  assertEquals(placed.hostMemory, 16 * GIB);
  const text = planText(LLAMA_8B, placed);
  assertStringIncludes(text, `placement  ${32 - fit.hostLayers} layers and the index on the GPU`);
  assertStringIncludes(text, `${fit.hostLayers} layers in pinned host memory`);
  assertStringIncludes(planSummary(placed), "in host memory");
  const asked = planOnGpu(LLAMA_8B, "--vram=24GiB", "--memory=18GiB");
  assertEquals([asked.hostMemory, asked.settings.context], [18 * GIB, 131072]);
  const within = planOnGpu(LLAMA_8B, "--vram=24GiB");
  assertEquals(within.settings.hostLayers, 0);
  assert(asked.fit.kvBlocks > within.fit.kvBlocks && within.settings.context < 131072);
  assertStringIncludes(planText(LLAMA_8B, within), "placement  all of it on the GPU: ");
});

Deno.test("what a GPU cannot sample with is refused when it was asked for, else exact with a note", () => {
  const { index } = planOnGpu(config, "--experimental", "--index=quest:32").settings;
  assertEquals([index.sketchBits, index.questPage, index.yardsticks], [0, 32, true]);
  const large = { ...config, heads: 32, kvHeads: 2 };
  assertThrows(() => planOnGpu(large, "--experimental"), Failure, "16 heads a KV head");
  assertThrows(() => planOnGpu(large, "--index=lsh:8x75"), Failure, "16 heads a KV head");
  const { settings } = planOnGpu({ ...config, headDim: 96 }, "--index=sketch:4");
  assertEquals(settings.index.sketchBits, 4);
  const shapes = [{ ...config, headDim: 100 }, { ...config, heads: 258, kvHeads: 2 }];
  for (const shape of shapes) {
    for (const args of [["--attention=sketch"], ["--experimental", "--index=none"]]) {
      assertThrows(() => planOnGpu(shape, ...args), Failure, "--device cpu can");
    }
    const { settings, notes, policy } = planOnGpu(shape);
    assertEquals([settings.index.sketchBits, policy.index.sketchBits], [0, 0]);
    assertStringIncludes(notes[0]!, "every request is exact");
    assertEquals(planOf(shape, "--attention=sketch").settings.index.sketchBits, 2);
  }
});

Deno.test("a GPU has signatures for lsh in its memory, for every token that the blocks hold", () => {
  const { settings, fit, memory } = planOnGpu(LLAMA_8B, "--preset=magicpig-10x150");
  assertEquals(settings.index.lshTokens, 128 * settings.kvBlocks);
  assertEquals(settings.hostLayers, 0);
  // A plane's words of 150 bits, ten of them, and a norm; beside 128 keys a mean.
  assertEquals(fit.lshBytes, 30 * 8 * settings.kvBlocks * (128 * (4 * 50 + 2) + 512));
  assert(fit.weightBytes + fit.workspaceBytes + fit.kvBytes + fit.lshBytes <= memory);
  const text = planText(LLAMA_8B, planOnGpu(LLAMA_8B, "--preset=magicpig-10x150"));
  assertStringIncludes(text, "K = 10, L = 150: signatures on the GPU, ");
  const host = planOnGpu(LLAMA_8B, "--preset=magicpig-10x150", "--vram=24GiB", "--memory=18GiB");
  assert(host.settings.hostLayers > 0 && host.fit.hostKvBytes > 0);
  const { hostKvBytes, hostWorkspaceBytes, kvBytes, lshBytes } = host.fit;
  assert(hostKvBytes + hostWorkspaceBytes <= 18 * GIB);
  const { weightBytes, workspaceBytes } = host.fit;
  assert(weightBytes + workspaceBytes + kvBytes - hostKvBytes + lshBytes <= host.memory);
});

Deno.test("where the CPU attends for a GPU every index is allowed, and lies in host memory with the KV", () => {
  const cpu = "--host-attention=cpu";
  const four = planOnGpu({ ...config, headDim: 96 }, cpu, "--index=sketch:4", "--memory=8GiB");
  assertEquals([four.settings.hostAttention, four.settings.index.sketchBits], ["cpu", 4]);
  assertEquals([four.settings.hostLayers, four.notes], [config.layers, []]);
  const preset = planOnGpu(LLAMA_8B, cpu, "--preset=magicpig-10x150", "--memory=18GiB");
  // Layers 0 and 16 are dense: they stay with the GPU.
  assertEquals(preset.settings.hostLayers, 30);
  const { hostKvBytes, lshBytes, hostWorkspaceBytes, kvBytes, weightBytes } = preset.fit;
  assert(lshBytes > hostKvBytes / 2 && hostWorkspaceBytes > 0);
  assert(hostKvBytes + lshBytes + hostWorkspaceBytes <= 18 * GIB);
  assert(weightBytes + kvBytes - hostKvBytes < 24 * GIB);
  const text = planText(LLAMA_8B, preset);
  assertStringIncludes(text, "placement  2 layers on the GPU");
  assertStringIncludes(text, "30 layers in pinned host memory");
  assertStringIncludes(text, "lsh tables: ");
  assertStringIncludes(text, "in host memory: by the CPU");
  const all = ["--experimental", "--index=sketch,lsh:8x75,quest:16", "--memory=8GiB"];
  const { index } = planOnGpu(config, cpu, ...all).settings;
  assertEquals([index.sketchBits, index.questPage, index.yardsticks], [2, 16, true]);
  assertEquals(planOnGpu(config, cpu, "--index=none").settings.hostLayers, 0);
});

Deno.test("too little host memory for what the CPU attends is refused with the flag that gives more", () => {
  const args = ["--host-attention=cpu", "--preset=magicpig-10x150", "--context=65536"];
  const { message } = assertThrows(
    () => planOnGpu(LLAMA_8B, ...args, "--memory=2GiB"),
    Failure,
    "2.0 GiB of host memory",
  );
  assertStringIncludes(message, "--vram or --memory");
});

Deno.test("where both attend, sketches lie in both memories, and lsh is refused", () => {
  const args = ["--vram=24GiB", "--memory=18GiB"];
  const split = planOnGpu(LLAMA_8B, "--host-attention=split", ...args);
  const gpu = planOnGpu(LLAMA_8B, ...args);
  assert(split.settings.hostLayers > 0 && split.fit.indexBytes > gpu.fit.indexBytes);
  assertStringIncludes(planText(LLAMA_8B, split), "by GPU and CPU, who divide the heads");
  assertThrows(
    () => planOnGpu(config, "--host-attention=split", "--preset=magicpig-8x75"),
    Failure,
    "--host-attention gpu or cpu",
  );
});

Deno.test("what cannot fit is refused with figures and the flag to change", () => {
  const weights = assertThrows(() => plan("--memory", "8MiB"), Failure, "--memory");
  assertEquals(weights.kind, "memory");
  assertThrows(() => plan("--memory", "12 parsecs"), Failure, "12 parsecs");
  assertThrows(() => plan("--memory", "160MiB", "--context", "1000000"), Failure, "--context");
});

Deno.test("the plan says weights, bytes a token, blocks and how many requests fit", () => {
  const text = planText(config, plan("--memory", "1GiB"));
  for (const word of ["weights", "a token", "blocks", "at once", "2 cores"]) {
    assertStringIncludes(text, word);
  }
});

Deno.test("by default there are sketches, and the engine and the policy know the same index", () => {
  const { settings, policy, fit } = plan("--memory", "1GiB", "--budget", "0.01");
  assertEquals([settings.index.sketchBits, settings.index.denseLayers], [2, []]);
  assertEquals(policy.index, settings.index);
  assertEquals([policy.strategy, policy.budget, policy.slidingWindow], ["auto", 0.01, 0]);
  assert(fit.indexBytes > 0 && fit.lshBytes === 0);
});

Deno.test("there are lsh tables for every token that the blocks hold, within the memory", () => {
  const { settings, fit, memory } = plan("--memory", "1GiB", "--preset", "magicpig-10x150");
  assertEquals(settings.index.lshTokens, 128 * settings.kvBlocks);
  assert(fit.lshBytes > fit.kvBytes);
  assert(fit.weightBytes + fit.workspaceBytes + fit.kvBytes + fit.lshBytes <= memory);
  assert(settings.kvBlocks < plan("--memory", "1GiB").settings.kvBlocks);
});

Deno.test("the paper's dense layers follow the model's depth, those of a flag must be there", () => {
  const dense = (layers: number, ...args: string[]) =>
    planOf({ ...config, layers }, "--memory", "16GiB", ...args).settings.index.denseLayers;
  const preset = "--preset=magicpig-8x75";
  assertEquals(dense(32, preset), [0, 16]);
  assertEquals(dense(80, preset), [0, 16, 32, 48]);
  assertEquals(dense(8, preset), [0]);
  assertEquals(dense(8, preset, "--dense-layers=1,7"), [1, 7]);
  assertEquals(dense(8, "--dense-layers=none"), []);
  const { message } = assertThrows(() => dense(8, "--dense-layers=0,8"), Failure);
  assertEquals(message, "--dense-layers names layer 8, but this model has layers 0 to 7.");
});

Deno.test("a model with a sliding window has no index, and says so when flags ask for sampling", () => {
  const windowed = { ...config, slidingWindow: 4096 };
  for (const args of [[], ["--attention", "full"], ["--index", "none"]]) {
    assertEquals(planOf(windowed, ...args).notes, []);
  }
  for (const args of [["--index=sketch"], ["--attention=sketch"], ["--preset=magicpig-8x75"]]) {
    const some = planOf(windowed, "--memory=1GiB", ...args);
    assertEquals([some.fit.indexBytes, some.fit.lshBytes, some.settings.index.lsh], [0, 0, null]);
    assertEquals(some.policy.slidingWindow, 4096);
    for (const text of [planText(windowed, some), planSummary(some)]) {
      assertStringIncludes(text, "a window of 4,096 tokens, which is always read exactly");
    }
  }
});

Deno.test("the plan says what the index takes, and what the published tables would", () => {
  const sketched = planText(config, plan("--memory", "1GiB"));
  assertStringIncludes(sketched, "sketch of 2 bits: 312 bytes of these, 7.6 % of K and V");
  assertStringIncludes(
    sketched,
    "exactly up to 8,192 tokens of prompt, beyond them by sketch with 2 %",
  );
  const lsh = planText(config, plan("--memory", "1GiB", "--preset", "magicpig-10x150"));
  // 8 layers of 2 KV heads: ids and norms of 4 bytes, and a start and an end for each bucket.
  const published = 16 * (604 + 150 * 1024 * 8 / config.context) / 1024;
  assertStringIncludes(lsh, `the published tables would take ${published.toFixed(1)} KiB a token`);
  assertStringIncludes(lsh, "K = 10, L = 150");
  assertStringIncludes(lsh, "attention  by lsh with K = 10, L = 150; layer 0 exactly");
  const some = planText(config, plan("--dense-layers", "0,3,5"));
  assertStringIncludes(some, "by sketch with 2 % of the rows; layers 0, 3 and 5 exactly");
  assertStringIncludes(planText(config, plan("--index", "none")), "attention  exactly");
});
