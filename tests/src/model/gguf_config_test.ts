// SPDX-License-Identifier: Apache-2.0
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { MemorySource } from "./memory_source.ts";
import { ggufEndTokens } from "../../../src/model/end_tokens.ts";
import { readGguf } from "../../../src/model/gguf.ts";
import { ggufConfig } from "../../../src/model/gguf_config.ts";
import { type GgufValue, TINY, type TinyGguf, tinyGguf, zeros } from "./file_writers.ts";

function read(options: TinyGguf = {}) {
  const source = new MemorySource("x.gguf", tinyGguf(options));
  return ggufConfig(readGguf(source), source);
}

function refuses(options: TinyGguf, ...parts: string[]): void {
  const { message, kind } = assertThrows(() => read(options), Failure);
  assertEquals(kind, "model");
  for (const part of ["x.gguf: ", ...parts]) assertStringIncludes(message, part);
}

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });

Deno.test("ggufConfig reads llama, qwen2 and qwen3", () => {
  const llama = read();
  assertEquals(llama.interleaved, true);
  const { rope, normEpsilon, ...config } = llama.config;
  assertEquals(config, {
    architecture: "llama",
    ...TINY,
    headDim: 16,
    context: 2048,
    slidingWindow: 0,
    tiedOutput: true,
    qkvBias: false,
    qkNorm: false,
  });
  assertAlmostEquals(normEpsilon, 1e-5, 1e-12);
  assertEquals([rope.frequencies.length, rope.scale], [8, 1]);
  const qwen2 = read({ architecture: "qwen2", tied: false });
  assertEquals(qwen2.interleaved, false);
  assertEquals([qwen2.config.qkvBias, qwen2.config.tiedOutput], [true, false]);
  const qwen3 = read({ architecture: "qwen3" });
  assertEquals([qwen3.interleaved, qwen3.config.qkNorm, qwen3.config.qkvBias], [
    false,
    true,
    false,
  ]);
});

Deno.test("ggufConfig takes optional metadata", () => {
  const { config } = read({
    metadata: {
      "llama.attention.key_length": u32(16),
      "llama.attention.value_length": u32(16),
      "llama.attention.sliding_window": u32(512),
      "llama.rope.dimension_count": u32(8),
      "llama.feed_forward_length": { type: "array", of: "u32", values: [128, 128] },
    },
  });
  assertEquals([config.slidingWindow, config.rope.frequencies.length, config.intermediate], [
    512,
    4,
    128,
  ]);
});

Deno.test("ggufConfig scales RoPE linearly, also in the oldest form, and by YaRN", () => {
  const plain = read().config.rope.frequencies;
  const linear: Record<string, GgufValue>[] = [
    { "llama.rope.scaling.type": text("linear"), "llama.rope.scaling.factor": f32(4) },
    { "llama.rope.scale_linear": f32(4) },
  ];
  for (const metadata of linear) {
    assertEquals(read({ metadata }).config.rope.frequencies, plain.map((f) => f / 4));
  }
  const none = { "llama.rope.scaling.type": text("none"), "llama.rope.scaling.factor": f32(4) };
  assertEquals(read({ metadata: none }).config.rope.frequencies, plain);
  const yarn = read({
    metadata: {
      "llama.rope.scaling.type": text("yarn"),
      "llama.rope.scaling.factor": f32(4),
      "llama.rope.scaling.original_context_length": u32(1024),
    },
  }).config;
  assertAlmostEquals(yarn.rope.scale, 0.1 * Math.log(4) + 1, 1e-9);
  assertEquals(yarn.rope.frequencies[0], plain[0]);
  assertAlmostEquals(yarn.rope.frequencies[7]!, plain[7]! / 4, 1e-9);
  assertEquals(yarn.context, 4096);
});

Deno.test("ggufConfig divides frequencies by rope_freqs.weight", () => {
  const plain = read().config.rope.frequencies;
  const factors = Float32Array.from({ length: 8 }, (_, i) => 1 + i / 2);
  const data = new Uint8Array(factors.buffer);
  const weight = { name: "rope_freqs.weight", type: 0, dimensions: [8], data };
  const { frequencies } = read({ extra: [weight] }).config.rope;
  frequencies.forEach((f, i) => assert(Math.abs(f * factors[i]! / plain[i]! - 1) < 1e-6));
  refuses({ extra: [zeros("rope_freqs.weight", [8])] }, "rope_freqs.weight", "no factors");
  refuses({ extra: [zeros("rope_freqs.weight", [4])] }, "rope_freqs.weight", "F32 [8]");
});

Deno.test("ggufConfig refuses what is not supported and names the key", () => {
  const other = { "general.architecture": text("gemma3") };
  refuses({ metadata: other }, '"gemma3"', "llama, qwen2, qwen3");
  refuses({ metadata: { "llama.expert_count": u32(8) } }, "llama.expert_count", "experts");
  refuses({ metadata: { "llama.logit_scale": f32(16) } }, "multiplier on logits");
  refuses({ metadata: { "llama.final_logit_softcapping": f32(30) } }, "softcapping");
  refuses({
    metadata: { "llama.rope.scaling.type": text("longrope"), "llama.rope.scaling.factor": f32(2) },
  }, "longrope");
  refuses({ metadata: { "split.count": { type: "u16", value: 3 } } }, "one of 3 parts", "--merge");
  refuses({ metadata: { "llama.attention.sliding_window_pattern": u32(6) } }, "only some layers");
  refuses({ metadata: { "llama.attention.value_length": u32(64) } }, "values of 64");
  refuses({ extra: [zeros("blk.0.attn_q.bias", [TINY.hidden])] }, "biases on q and k");
});

Deno.test("ggufConfig names metadata that are missing or make no sense", () => {
  refuses({ metadata: { "llama.block_count": u32(0) } }, "llama.block_count is 0");
  refuses({ metadata: { "llama.block_count": text("two") } }, 'llama.block_count is "two"');
  refuses({ metadata: { "llama.attention.head_count_kv": u32(3) } }, "head_count_kv (3)");
  refuses({ metadata: { "llama.rope.dimension_count": u32(33) } }, "RoPE rotates 33");
  refuses({ metadata: { "llama.rope.freq_base": f32(-1) } }, "freq_base is -1");
  refuses({ metadata: { "llama.context_length": f32(NaN) } }, "context_length");
  const heads = { type: "array", of: "u32", values: [4, 2] } as const;
  refuses({ metadata: { "llama.attention.head_count": heads } }, "differs between layers");
  refuses({ without: ["token_embd.weight"] }, '"token_embd.weight" is missing');
});

Deno.test("ggufEndTokens takes ids from the metadata and the usual texts", () => {
  const source = new MemorySource(
    "x.gguf",
    tinyGguf({
      metadata: {
        "tokenizer.ggml.eot_token_id": u32(5),
        "tokenizer.ggml.eom_token_id": u32(100_000),
      },
    }),
  );
  assertEquals(ggufEndTokens(readGguf(source).metadata, TINY.vocabulary), [2, 5, 7]);
  assertEquals(ggufEndTokens(new Map(), 10), []);
});
