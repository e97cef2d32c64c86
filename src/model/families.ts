// SPDX-License-Identifier: Apache-2.0
/** Families of models in Hugging Face's form: their defaults, and what is not supported. */
import { fileFailure, show } from "./bytes.ts";

/** A config.json of which nothing is known but that it is an object. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** What transformers' configuration class of a model type takes where config.json is silent. */
export interface Family {
  /** null: as many as query heads. */
  kvHeads: number | null;
  /** null: hidden size / heads. */
  headDim: number | null;
  context: number;
  qkvBias: boolean;
  qkNorm: boolean;
  /** `attention_bias` and `mlp_bias` are read. */
  hasBiasFlags: boolean;
  /** "always": `sliding_window` (default 4096) counts; "flag": with `use_sliding_window`; "never". */
  slidingWindow: "never" | "always" | "flag";
}

const QWEN2: Family = {
  kvHeads: 32,
  headDim: null,
  context: 32768,
  qkvBias: true,
  qkNorm: false,
  hasBiasFlags: false,
  slidingWindow: "flag",
};

const FAMILIES: Record<string, Family> = {
  llama: {
    kvHeads: null,
    headDim: null,
    context: 2048,
    qkvBias: false,
    qkNorm: false,
    hasBiasFlags: true,
    slidingWindow: "never",
  },
  mistral: {
    kvHeads: 8,
    headDim: null,
    context: 131072,
    qkvBias: false,
    qkNorm: false,
    hasBiasFlags: false,
    slidingWindow: "always",
  },
  qwen2: QWEN2,
  qwen3: { ...QWEN2, headDim: 128, qkvBias: false, qkNorm: true, hasBiasFlags: true },
};

const ARCHITECTURES = new Map([
  ["LlamaForCausalLM", "llama"],
  ["LLaMAForCausalLM", "llama"],
  ["MistralForCausalLM", "mistral"],
  ["Qwen2ForCausalLM", "qwen2"],
  ["Qwen3ForCausalLM", "qwen3"],
]);

/** What other model types have that the transformer here has not. */
const REFUSED: [RegExp, string][] = [
  [/moe|mixtral|experts|dbrx|jamba|gpt_oss|deepseek_v[23]|llama4|ernie4_5_m/, "mixture of experts"],
  [/deepseek|minicpm3/, "latent attention (MLA)"],
  [/^gemma/, "norms around each part, scaled embeddings, GELU and logit softcapping"],
  [/^phi3|^phi4/, "fused qkv and gate/up projections"],
  [/^phi|stablelm|gpt_neox|^gpt2|^opt$|falcon|bloom|^mpt|starcoder/, "LayerNorm with biases"],
  [/^olmo2|^olmo3|^exaone4/, "norms after attention and feed-forward"],
  [/^olmo|^cohere|command/, "LayerNorm without RMS"],
  [/^granite|^minicpm/, "multipliers on embeddings, residuals and logits"],
  [/^smollm3/, "layers without RoPE"],
  [/mamba|rwkv|recurrent|lfm|zamba|nemotron_h|qwen3_next/, "recurrent layers"],
  [/vl|vision|llava|pixtral|mllama|idefics|audio|omni/, "images or audio as input"],
];

const SUPPORTED =
  "Supported: llama, mistral, qwen2, qwen3, and models that say they are one of these.";

/**
 * The family of a model: by `model_type`, or by `architectures` where the type is a name of its own.
 * @throws {Failure} kind `model` that says what is not supported
 */
export function familyOf(config: RawConfig, name: string): [string, Family] {
  const [first] = Array.isArray(config.architectures) ? config.architectures : [];
  const type = typeof config.model_type === "string" ? config.model_type : "";
  const architecture = typeof first === "string" ? first : "";
  const key = Object.hasOwn(FAMILIES, type) ? type : ARCHITECTURES.get(architecture);
  const refused = REFUSED.find(([pattern]) => pattern.test(type));
  if (key !== undefined && (key === type || refused === undefined)) return [key, FAMILIES[key]!];
  const what = type === "" && architecture === ""
    ? "has neither model_type nor architectures."
    : `model_type "${type.slice(0, 100)}"${
      architecture && ` (${architecture.slice(0, 100)})`
    } is not supported` +
      `${refused === undefined ? "" : `: ${refused[1]}`}.`;
  throw fileFailure(name, `${what} ${SUPPORTED}`);
}

function isOn(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== 0;
}

function isNotOne(value: unknown): boolean {
  return isOn(value) && value !== 1;
}

/** Keys that change what a model computes, when their value says so. */
const KEYS: [key: string, matters: (value: unknown) => boolean, what: string][] = [
  [
    "quantization_config",
    isOn,
    "quantised safetensors; take the model unquantised or as a GGUF file",
  ],
  ["compression_config", isOn, "compressed safetensors; take the model unquantised or as GGUF"],
  ["num_experts", isNotOne, "mixture of experts"],
  ["num_local_experts", isNotOne, "mixture of experts"],
  ["n_routed_experts", isNotOne, "mixture of experts"],
  ["kv_lora_rank", isOn, "latent attention (MLA)"],
  ["attn_logit_softcapping", isOn, "logit softcapping"],
  ["final_logit_softcapping", isOn, "logit softcapping"],
  ["query_pre_attn_scalar", isOn, "a scale of its own on attention scores"],
  ["attention_multiplier", isNotOne, "a scale of its own on attention scores"],
  ["embedding_multiplier", isNotOne, "a multiplier on embeddings"],
  ["residual_multiplier", isNotOne, "a multiplier on residuals"],
  ["logits_scaling", isNotOne, "a multiplier on logits"],
  ["logit_scale", isNotOne, "a multiplier on logits"],
  ["scale_emb", isNotOne, "a multiplier on embeddings"],
  ["clip_qkv", isOn, "clipped q, k and v"],
  ["qk_layernorm", isOn, "LayerNorm on q and k"],
  ["rope_interleaved", isOn, "RoPE of neighbouring dimensions"],
  ["no_rope_layers", (v) => Array.isArray(v) && v.includes(0), "layers without RoPE"],
  ["attention_chunk_size", isOn, "chunked attention"],
  ["use_parallel_residual", isOn, "parallel residuals"],
  ["is_encoder_decoder", isOn, "encoder and decoder"],
  ["add_cross_attention", isOn, "cross attention"],
  ["text_config", isOn, "a language model inside a model for images or audio"],
  ["vision_config", isOn, "images as input"],
];

/** @throws {Failure} kind `model` when the configuration asks for something that is not supported */
export function refuseUnsupported(config: RawConfig, family: Family, name: string): void {
  for (const [key, matters, what] of KEYS) {
    if (matters(config[key])) {
      throw fileFailure(name, `${key} is set: ${what} is not supported.`);
    }
  }
  const activation = config.hidden_act ?? "silu";
  if (activation !== "silu" && activation !== "swish") {
    throw fileFailure(
      name,
      `hidden_act ${show(activation)} is not supported, only "silu".`,
    );
  }
  if (family.hasBiasFlags && isOn(config.attention_bias)) {
    throw fileFailure(
      name,
      "attention_bias is true, which includes the attention output: biases are supported on q, k " +
        "and v only.",
    );
  }
  if (family.hasBiasFlags && isOn(config.mlp_bias)) {
    throw fileFailure(name, "mlp_bias is true: biases are supported on q, k and v only.");
  }
}
