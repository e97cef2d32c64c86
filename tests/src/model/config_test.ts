// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { parseConfig } from "../../../src/model/config.ts";
import type { ModelConfig } from "../../../src/model/model.ts";

const GOLDEN = new URL("../../fixtures/golden/families/", import.meta.url);

const LLAMA = {
  model_type: "llama",
  vocab_size: 320,
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 3,
  num_attention_heads: 4,
};
const QWEN2 = { ...LLAMA, model_type: "qwen2", num_key_value_heads: 2 };

function parse(config: unknown): ModelConfig {
  return parseConfig(JSON.stringify(config), "config.json").config;
}

function refuses(config: unknown, ...parts: string[]): void {
  const { message, kind } = assertThrows(() => parse(config), Failure);
  assertEquals(kind, "model");
  for (const part of ["config.json: ", ...parts]) assertStringIncludes(message, part);
}

/** What each family's config.json says, beyond what all of them share. */
const FAMILIES: Record<string, Partial<ModelConfig>> = {
  llama2_mha: { kvHeads: 4 },
  llama31_rope_scaling: {},
  llama32_tied_headdim: { hidden: 96, heads: 6, kvHeads: 3, headDim: 32, tiedOutput: true },
  codellama_linear_rope: {},
  mistral_sharded: { architecture: "mistral", headDim: 32 },
  mistral_sliding_window: { architecture: "mistral", slidingWindow: 16 },
  qwen2_qkv_bias: { architecture: "qwen2", qkvBias: true, tiedOutput: true, normEpsilon: 1e-5 },
  qwen3_qk_norm: { architecture: "qwen3", headDim: 32, qkNorm: true, tiedOutput: true },
  yarn_rope: { architecture: "qwen2", qkvBias: true },
};
const SHARED: Partial<ModelConfig> = {
  architecture: "llama",
  layers: 3,
  hidden: 64,
  intermediate: 176,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocabulary: 320,
  context: 4096,
  slidingWindow: 0,
  tiedOutput: false,
  qkvBias: false,
  qkNorm: false,
  normEpsilon: 1e-5,
};

for (const [family, own] of Object.entries(FAMILIES)) {
  Deno.test(`parseConfig reads the config.json of ${family}`, async () => {
    const text = await Deno.readTextFile(new URL(`${family}/config.json`, GOLDEN));
    const { config: { rope, ...config }, endTokens } = parseConfig(text, "config.json");
    assertEquals(config, { ...SHARED, ...own } as typeof config);
    assertEquals(rope.frequencies.length, config.headDim / 2);
    assertEquals(rope.scale, family === "yarn_rope" ? 0.1 * Math.log(4) + 1 : 1);
    assertEquals(endTokens, [2]);
  });
}

Deno.test("parseConfig takes transformers' defaults of the family where a key is missing", () => {
  const llama = parse(LLAMA);
  assertEquals([llama.kvHeads, llama.headDim, llama.context], [4, 16, 2048]);
  assertEquals([llama.normEpsilon, llama.tiedOutput, llama.slidingWindow], [1e-6, false, 0]);
  const mistral = parse({ ...LLAMA, model_type: "mistral", num_attention_heads: 8 });
  assertEquals([mistral.kvHeads, mistral.context, mistral.slidingWindow], [8, 131072, 4096]);
  const qwen2 = parse({ ...QWEN2, num_key_value_heads: null });
  assertEquals([qwen2.kvHeads, qwen2.headDim, qwen2.context, qwen2.qkvBias], [4, 16, 32768, true]);
  const qwen3 = parse({ ...QWEN2, model_type: "qwen3" });
  assertEquals([qwen3.headDim, qwen3.qkNorm, qwen3.qkvBias], [128, true, false]);
});

Deno.test("parseConfig goes by architectures where model_type is a name of its own", () => {
  const config = { ...LLAMA, model_type: "smollm", architectures: ["LlamaForCausalLM"] };
  assertEquals(parse(config).architecture, "llama");
  assertEquals(parse({ ...config, model_type: undefined }).architecture, "llama");
});

Deno.test("parseConfig reads one end token, a list and none", () => {
  const end = (eos: unknown) =>
    parseConfig(JSON.stringify({ ...LLAMA, eos_token_id: eos }), "config.json").endTokens;
  assertEquals(end(2), [2]);
  assertEquals(end([128001, 128009]), [128001, 128009]);
  assertEquals(end(null), []);
  assertEquals(end(undefined), []);
});

Deno.test("parseConfig follows qwen's sliding window flags", () => {
  const window = (extra: object) => parse({ ...QWEN2, sliding_window: 32, ...extra }).slidingWindow;
  assertEquals(window({}), 0);
  assertEquals(window({ use_sliding_window: true }), 0, "max_window_layers is 28 by default");
  assertEquals(window({ use_sliding_window: true, max_window_layers: 0 }), 32);
  assertEquals(window({ use_sliding_window: true, max_window_layers: 3 }), 0);
  const layers = (...types: string[]) => ({ use_sliding_window: true, layer_types: types });
  const full = "full_attention", sliding = "sliding_attention";
  assertEquals(window(layers(full, full, full)), 0);
  assertEquals(window(layers(sliding, sliding, sliding)), 32);
  assertEquals(window({ ...layers(full, sliding, full), sliding_window: 32768 }), 0);
  const mixed = { ...QWEN2, sliding_window: 32, use_sliding_window: true };
  refuses({ ...mixed, max_window_layers: 1 }, "2 of 3 layers", "only all or none");
  refuses({ ...mixed, ...layers(full, sliding, full) }, "1 of 3 layers");
  refuses({ ...mixed, ...layers(full, full) }, "2 entries for 3 layers");
  refuses({ ...mixed, ...layers(full, "linear_attention", full) }, '"linear_attention"');
  refuses({ ...QWEN2, layer_types: [full, sliding, full] }, "there is no sliding_window");
});

Deno.test("parseConfig rotates a part of a head where partial_rotary_factor says so", () => {
  assertEquals(parse({ ...LLAMA, partial_rotary_factor: 0.5 }).rope.frequencies.length, 4);
  const rope_parameters = { rope_theta: 1e4, partial_rotary_factor: 0.25 };
  assertEquals(parse({ ...LLAMA, rope_parameters }).rope.frequencies.length, 2);
  refuses({ ...LLAMA, partial_rotary_factor: 0.2 }, "RoPE rotates 3 of the 16");
  refuses({ ...LLAMA, partial_rotary_factor: 1.5 }, "RoPE rotates 24 of the 16");
});

Deno.test("parseConfig takes the length that YaRN was set up for as the context", () => {
  const rope_scaling = { type: "yarn", factor: 4, original_max_position_embeddings: 32768 };
  assertEquals(parse({ ...QWEN2, max_position_embeddings: 32768, rope_scaling }).context, 131072);
  assertEquals(parse({ ...QWEN2, max_position_embeddings: 262144, rope_scaling }).context, 262144);
});

Deno.test("parseConfig reads RoPE that is nested by the type of the layers", () => {
  const rope_parameters = { full_attention: { rope_theta: 100, rope_type: "linear", factor: 2 } };
  assertEquals(parse({ ...LLAMA, rope_parameters }).rope.frequencies[0], 0.5);
});

Deno.test("parseConfig refuses other model types and says why", () => {
  const other = (model_type: string, architecture = "OtherForCausalLM") => ({
    ...LLAMA,
    model_type,
    architectures: [architecture],
  });
  refuses(other("mixtral"), '"mixtral"', "mixture of experts", "Supported: llama, mistral");
  refuses(other("deepseek_v3"), "mixture of experts");
  refuses(other("minicpm3"), "MLA");
  refuses(other("phi3"), "fused qkv");
  refuses(other("gemma2"), "softcapping");
  refuses(other("gpt_oss"), "mixture of experts");
  refuses(other("qwen2_5_vl"), "images");
  refuses(other("somethingnew"), '"somethingnew" (OtherForCausalLM) is not supported');
  refuses(other("granite", "LlamaForCausalLM"), "multipliers");
  refuses({ hidden_size: 1 }, "neither model_type nor architectures");
});

Deno.test("parseConfig refuses what the transformer does not compute", () => {
  refuses({ ...LLAMA, attention_bias: true }, "attention_bias", "output");
  refuses({ ...LLAMA, mlp_bias: true }, "mlp_bias");
  refuses({ ...LLAMA, hidden_act: "gelu" }, 'hidden_act "gelu"');
  refuses({ ...LLAMA, quantization_config: { quant_method: "awq" } }, "quantised", "GGUF");
  refuses({ ...LLAMA, num_local_experts: 8 }, "num_local_experts", "mixture of experts");
  refuses({ ...LLAMA, kv_lora_rank: 512 }, "MLA");
  refuses({ ...LLAMA, final_logit_softcapping: 30 }, "softcapping");
  refuses({ ...LLAMA, logits_scaling: 8 }, "logits_scaling");
  refuses({ ...LLAMA, no_rope_layers: [1, 1, 0] }, "layers without RoPE");
  refuses({ ...LLAMA, vision_config: {} }, "images");
  assertEquals(parse({ ...LLAMA, final_logit_softcapping: null, logits_scaling: 1 }).layers, 3);
  assertEquals(parse({ ...QWEN2, attention_bias: true }).qkvBias, true);
});

Deno.test("parseConfig refuses RoPE that it does not know or that makes no sense", () => {
  const scaled = (rope_scaling: object) => ({ ...LLAMA, rope_scaling });
  refuses(scaled({ type: "dynamic", factor: 2 }), '"dynamic"', "default, linear, llama3, yarn");
  refuses(scaled({ rope_type: "longrope" }), '"longrope"');
  refuses(scaled({ type: "linear" }), 'needs "factor"');
  refuses(scaled({ type: "linear", factor: 0 }), "factor is 0");
  refuses(scaled({ type: "linear", factor: "2" }), 'factor is "2"');
  refuses(
    scaled({ rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 4 }),
    "above",
  );
  refuses({ ...LLAMA, rope_theta: 0.5 }, "rope_theta is 0.5");
});

Deno.test("parseConfig names the key that is missing or wrong", () => {
  refuses({ ...LLAMA, hidden_size: undefined }, "hidden_size");
  refuses({ ...LLAMA, num_hidden_layers: "3" }, "num_hidden_layers");
  refuses({ ...LLAMA, vocab_size: 0 }, "vocab_size");
  refuses({ ...LLAMA, num_hidden_layers: 1e9 }, "num_hidden_layers is 1000000000");
  refuses({ ...LLAMA, head_dim: 512 }, "head_dim is 512", "256");
  refuses({ ...LLAMA, head_dim: 15 }, "head_dim is 15", "even");
  refuses({ ...LLAMA, num_key_value_heads: 3 }, "no multiple of num_key_value_heads (3)");
  refuses({ ...LLAMA, hidden_size: 66 }, "no multiple of num_attention_heads");
  refuses({ ...LLAMA, rms_norm_eps: -1 }, "rms_norm_eps is -1");
  refuses([], "no JSON object");
  const { message } = assertThrows(() => parseConfig("{", "a/config.json"), Failure);
  assertStringIncludes(message, "a/config.json: is not JSON");
});
