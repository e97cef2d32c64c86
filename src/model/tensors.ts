// SPDX-License-Identifier: Apache-2.0
/** From stored tensors to those of the transformer: all of them, of the right shape, and nothing else. */
import { fileFailure, show } from "./bytes.ts";
import {
  type ModelConfig,
  TENSOR_ROLES,
  TENSOR_TYPES,
  type TensorPlace,
  type TensorRole,
  type TensorType,
} from "./model.ts";
import type { Naming } from "./names.ts";

/** A tensor as a file describes it. */
export interface StoredTensor {
  name: string;
  /** Index of its file. */
  file: number;
  /** As the file calls it; may be one that cannot be used. */
  type: string;
  /** Outermost dimension first. */
  shape: number[];
  /** Bytes from the start of the file. */
  offset: number;
}

/** Shape of each tensor that a model has; null where it has none. */
export function shapeOf(role: TensorRole, config: ModelConfig): number[] | null {
  const { hidden, intermediate, vocabulary, headDim } = config;
  const queries = config.heads * headDim, keys = config.kvHeads * headDim;
  switch (role) {
    case "embedding":
      return [vocabulary, hidden];
    case "output":
      return config.tiedOutput ? null : [vocabulary, hidden];
    case "final_norm":
    case "attention_norm":
    case "feed_forward_norm":
      return [hidden];
    case "q":
      return [queries, hidden];
    case "k":
    case "v":
      return [keys, hidden];
    case "q_bias":
      return config.qkvBias ? [queries] : null;
    case "k_bias":
    case "v_bias":
      return config.qkvBias ? [keys] : null;
    case "q_norm":
    case "k_norm":
      return config.qkNorm ? [headDim] : null;
    case "attention_output":
      return [hidden, queries];
    case "gate":
    case "up":
      return [intermediate, hidden];
    case "down":
      return [hidden, intermediate];
  }
}

const OUTER_ROLES: ReadonlySet<TensorRole> = new Set(["embedding", "output", "final_norm"]);

/** Every tensor of a model, layer by layer. */
export function* tensorsOf(config: ModelConfig): Generator<{ role: TensorRole; layer: number }> {
  const roles = (Object.keys(TENSOR_ROLES) as TensorRole[]).filter((r) =>
    shapeOf(r, config) !== null
  );
  for (const role of roles) if (OUTER_ROLES.has(role)) yield { role, layer: 0 };
  for (let layer = 0; layer < config.layers; layer++) {
    for (const role of roles) if (!OUTER_ROLES.has(role)) yield { role, layer };
  }
}

/** What an unknown name most likely means. */
function explain(name: string): string {
  if (/experts?|block_sparse_moe|_exps|shared_expert/.test(name)) {
    return "It belongs to a mixture of experts, which is not supported.";
  }
  if (/qkv_proj|attn_qkv|gate_up_proj|W_pack/.test(name)) {
    return "It is a fused projection; those are only read in three parts (q, k, v).";
  }
  if (/kv_a_proj|kv_b_proj|q_a_proj|attn_kv_[ab]/.test(name)) {
    return "It belongs to latent attention (MLA), which is not supported.";
  }
  if (/sinks/.test(name)) return "It belongs to attention sinks, which are not supported.";
  if (/(o_proj|attn_output|mlp\..*|ffn_\w+)\.bias$/.test(name)) {
    return "Biases are supported on q, k and v only.";
  }
  if (/(scales?|qweight|qzeros|g_idx|weight_scale\w*|absmax)$/.test(name)) {
    return "It belongs to quantised safetensors, which are not supported: take a GGUF file instead.";
  }
  if (/lora_[AB]/.test(name)) return "It belongs to an adapter; merge it into the model first.";
  return "The model computes something that is not supported.";
}

/**
 * Finds the role of each stored tensor.
 * @param files names of the files, for messages
 * @returns one place for every tensor of the model, in the order of the files
 * @throws {Failure} kind `model` that names a missing, unknown, repeated or misshapen tensor
 */
export function assignRoles(
  config: ModelConfig,
  stored: readonly StoredTensor[],
  naming: Naming,
  files: readonly string[],
): TensorPlace[] {
  const places = new Map<string, TensorPlace>();
  for (const tensor of stored) {
    if (naming.isIgnored(tensor.name)) continue;
    const place = placeOf(config, tensor, naming, files[tensor.file]!);
    const key = `${place.role} ${place.layer}`;
    if (places.has(key)) {
      throw fileFailure(files[tensor.file]!, `tensor ${show(tensor.name)} is there twice.`);
    }
    places.set(key, place);
  }
  const missing = [...tensorsOf(config)]
    .filter(({ role, layer }) => !places.has(`${role} ${layer}`))
    .map(({ role, layer }) => `"${naming.nameOf(role, layer)}"`);
  if (missing.length > 0) {
    const more = missing.length > 3 ? ` and ${missing.length - 3} more` : "";
    const what = `${missing.slice(0, 3).join(", ")}${more}`;
    throw fileFailure(
      files[0]!,
      `${missing.length === 1 ? "tensor" : "tensors"} ${what} missing: the model is not complete.`,
    );
  }
  return [...places.values()].sort((a, b) => a.file - b.file || a.offset - b.offset);
}

function placeOf(
  config: ModelConfig,
  tensor: StoredTensor,
  naming: Naming,
  file: string,
): TensorPlace {
  const fail = (sentence: string) => fileFailure(file, `tensor ${show(tensor.name)} ${sentence}`);
  const { part, layer } = naming.parse(tensor.name);
  const role = (layer === null ? naming.outer : naming.inner).get(part);
  if (role === undefined) throw fail(`is unknown. ${explain(tensor.name)}`);
  if (layer !== null && layer >= config.layers) {
    throw fail(`belongs to a layer past the last one: the model should have ${config.layers}.`);
  }
  const shape = shapeOf(role, config);
  if (shape === null) {
    throw fail("is there, but the model's configuration says that there is none.");
  }
  if (shape.length !== tensor.shape.length || shape.some((size, i) => size !== tensor.shape[i])) {
    throw fail(`has shape [${tensor.shape}], but the configuration needs [${shape}].`);
  }
  if (!Object.hasOwn(TENSOR_TYPES, tensor.type)) {
    throw fail(`has type ${tensor.type}; F32, F16 and BF16 are supported.`);
  }
  return {
    role,
    layer: layer ?? 0,
    file: tensor.file,
    type: tensor.type as TensorType,
    rows: shape.length === 1 ? 1 : shape[0]!,
    columns: shape.at(-1)!,
    interleavedHeads: naming.interleaved.get(role) ?? 0,
    offset: tensor.offset,
  };
}
