// SPDX-License-Identifier: Apache-2.0
/** How safetensors and GGUF files name the tensors of a transformer. */
import type { ModelConfig, TensorRole } from "./model.ts";

/** How files of one kind name tensors. */
export interface Naming {
  /** The name without its layer, and the layer. */
  parse(name: string): { part: string; layer: number | null };
  /** The full name of a role, for messages. */
  nameOf(role: TensorRole, layer: number): string;
  /** Roles of tensors outside the layers, and of those inside, by their part of the name. */
  outer: ReadonlyMap<string, TensorRole>;
  inner: ReadonlyMap<string, TensorRole>;
  /** Tensors that carry nothing of their own. */
  isIgnored(name: string): boolean;
  /** Heads whose rows lie pairwise interleaved, by role. */
  interleaved: ReadonlyMap<TensorRole, number>;
}

const HUGGINGFACE_INNER: [string, TensorRole][] = [
  ["input_layernorm.weight", "attention_norm"],
  ["self_attn.q_proj.weight", "q"],
  ["self_attn.k_proj.weight", "k"],
  ["self_attn.v_proj.weight", "v"],
  ["self_attn.q_proj.bias", "q_bias"],
  ["self_attn.k_proj.bias", "k_bias"],
  ["self_attn.v_proj.bias", "v_bias"],
  ["self_attn.q_norm.weight", "q_norm"],
  ["self_attn.k_norm.weight", "k_norm"],
  ["self_attn.o_proj.weight", "attention_output"],
  ["post_attention_layernorm.weight", "feed_forward_norm"],
  ["mlp.gate_proj.weight", "gate"],
  ["mlp.up_proj.weight", "up"],
  ["mlp.down_proj.weight", "down"],
];
const HUGGINGFACE_OUTER: [string, TensorRole][] = [
  ["embed_tokens.weight", "embedding"],
  ["norm.weight", "final_norm"],
  ["lm_head.weight", "output"],
];
const GGUF_INNER: [string, TensorRole][] = [
  ["attn_norm.weight", "attention_norm"],
  ["attn_q.weight", "q"],
  ["attn_k.weight", "k"],
  ["attn_v.weight", "v"],
  ["attn_q.bias", "q_bias"],
  ["attn_k.bias", "k_bias"],
  ["attn_v.bias", "v_bias"],
  ["attn_q_norm.weight", "q_norm"],
  ["attn_k_norm.weight", "k_norm"],
  ["attn_output.weight", "attention_output"],
  ["ffn_norm.weight", "feed_forward_norm"],
  ["ffn_gate.weight", "gate"],
  ["ffn_up.weight", "up"],
  ["ffn_down.weight", "down"],
];
const GGUF_OUTER: [string, TensorRole][] = [
  ["token_embd.weight", "embedding"],
  ["output_norm.weight", "final_norm"],
  ["output.weight", "output"],
];

function naming(
  outer: [string, TensorRole][],
  inner: [string, TensorRole][],
  pattern: RegExp,
  full: (part: string, layer: number | null) => string,
  rest: Pick<Naming, "isIgnored" | "interleaved">,
): Naming {
  const innerNames = new Map(inner.map(([part, role]) => [role, part]));
  const outerNames = new Map(outer.map(([part, role]) => [role, part]));
  return {
    outer: new Map(outer),
    inner: new Map(inner),
    parse(name) {
      const { layer, part } = pattern.exec(name)?.groups ?? {};
      return { part: part ?? name, layer: layer === undefined ? null : Number(layer) };
    },
    nameOf(role, layer) {
      const part = innerNames.get(role);
      return part === undefined ? full(outerNames.get(role)!, null) : full(part, layer);
    },
    ...rest,
  };
}

/** Names of Hugging Face's Llama, Mistral, Qwen2 and Qwen3 classes, with or without `model.` in front. */
export function huggingFaceNaming(config: ModelConfig): Naming {
  return naming(
    HUGGINGFACE_OUTER,
    HUGGINGFACE_INNER,
    /^(?:model\.)?(?:layers\.(?<layer>\d{1,6})\.)?(?<part>.+)$/s,
    (part, layer) => {
      if (layer !== null) return `model.layers.${layer}.${part}`;
      return part === "lm_head.weight" ? part : `model.${part}`;
    },
    {
      // Old checkpoints store RoPE's frequencies, and some store a tied output projection once more.
      isIgnored: (name) =>
        name.endsWith(".rotary_emb.inv_freq") || (config.tiedOutput && name === "lm_head.weight"),
      interleaved: new Map(),
    },
  );
}

/**
 * Names of GGUF's llama, qwen2 and qwen3.
 * @param interleaved the rows of q and k lie pairwise interleaved (architecture llama)
 */
export function ggufNaming(config: ModelConfig, interleaved: boolean): Naming {
  return naming(
    GGUF_OUTER,
    GGUF_INNER,
    /^(?:blk\.(?<layer>\d{1,6})\.)?(?<part>.+)$/s,
    (part, layer) => layer === null ? part : `blk.${layer}.${part}`,
    {
      // The factors are part of the frequencies already.
      isIgnored: (name) => name === "rope_freqs.weight",
      interleaved: new Map(interleaved ? [["q", config.heads], ["k", config.kvHeads]] : []),
    },
  );
}
