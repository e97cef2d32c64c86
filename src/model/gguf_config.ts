// SPDX-License-Identifier: Apache-2.0
/** A GGUF file's metadata as a {@linkcode ModelConfig}, as llama.cpp reads them. */
import { type ByteSource, fileFailure, show } from "./bytes.ts";
import { checkFigures, checkRope, checkRopeDimensions, type Figures } from "./figures.ts";
import type { Gguf, GgufMetadata } from "./gguf.ts";
import type { ModelConfig, Rope } from "./model.ts";
import { computeRope, type RopeScaling, yarnAttentionFactor } from "./rope.ts";
import type { StoredTensor } from "./tensors.ts";

/** What an architecture has besides the common parts. */
interface Architecture {
  qkNorm: boolean;
  /** Rows of q and k lie pairwise interleaved. */
  interleaved: boolean;
}

const ARCHITECTURES = new Map<unknown, Architecture>([
  ["llama", { qkNorm: false, interleaved: true }],
  ["qwen2", { qkNorm: false, interleaved: false }],
  ["qwen3", { qkNorm: true, interleaved: false }],
]);

/** Keys after the architecture's name that change what a model computes, unless they are 0 or 1. */
const REFUSED: Record<string, string> = {
  "expert_count": "mixture of experts",
  "attention.kv_lora_rank": "latent attention (MLA)",
  "attn_logit_softcapping": "logit softcapping",
  "final_logit_softcapping": "logit softcapping",
  "attention.clamp_kqv": "clipped q, k and v",
  "attention.temperature_scale": "a temperature on attention scores",
  "attention.scale": "a scale of its own on attention scores",
  "embedding_scale": "a multiplier on embeddings",
  "residual_scale": "a multiplier on residuals",
  "logit_scale": "a multiplier on logits",
};

const KEYS: Record<keyof Figures, string> = {
  layers: "block_count",
  hidden: "embedding_length",
  intermediate: "feed_forward_length",
  heads: "attention.head_count",
  kvHeads: "attention.head_count_kv",
  headDim: "attention.key_length",
  vocabulary: "vocab_size",
  context: "context_length",
  normEpsilon: "attention.layer_norm_rms_epsilon",
};

/** Metadata of one architecture, by key without its name in front. */
class Reader {
  readonly name: string;
  readonly architecture: string;
  readonly #metadata: GgufMetadata;

  constructor(metadata: GgufMetadata, name: string) {
    this.name = name;
    this.#metadata = metadata;
    this.architecture = String(metadata.get("general.architecture"));
  }

  keyOf(key: string): string {
    return `${this.architecture}.${key}`;
  }

  get(key: string): unknown {
    return this.#metadata.get(this.keyOf(key));
  }

  /** A number; of one number a layer, the one that all layers share. */
  number(key: string): number | undefined {
    const value = this.get(key);
    if (value === undefined || typeof value === "number" && Number.isFinite(value)) return value;
    if (!ArrayBuffer.isView(value) || value.byteLength === 0) {
      throw fileFailure(this.name, `${this.keyOf(key)} is ${show(value)}, which is no number.`);
    }
    const values = [...new Set(value as Uint32Array)].map(Number);
    if (values.length === 1) return values[0]!;
    throw fileFailure(
      this.name,
      `${this.keyOf(key)} differs between layers (${show(values)}), which is not supported.`,
    );
  }

  required(key: string): number {
    const value = this.number(key);
    if (value !== undefined) return value;
    throw fileFailure(this.name, `metadata "${this.keyOf(key)}" are missing.`);
  }

  /** A number above 0; 0 counts as absent. */
  positive(key: string): number | undefined {
    const value = this.number(key) || undefined;
    if (value === undefined || value > 0) return value;
    throw fileFailure(this.name, `${this.keyOf(key)} is ${value}; it must be above 0.`);
  }
}

function architectureOf(metadata: GgufMetadata, name: string): Architecture {
  const key = metadata.get("general.architecture");
  const architecture = ARCHITECTURES.get(key);
  if (architecture !== undefined) return architecture;
  throw fileFailure(
    name,
    `general.architecture ${show(key)} is not supported. Supported: ` +
      `${[...ARCHITECTURES.keys()].join(", ")} (Mistral's files say llama).`,
  );
}

function refuseUnsupported(reader: Reader, metadata: GgufMetadata): void {
  const parts = metadata.get("split.count");
  if (typeof parts === "number" && parts > 1) {
    throw fileFailure(
      reader.name,
      `is one of ${parts} parts. Join them first: llama-gguf-split --merge FIRST_PART JOINED.gguf.`,
    );
  }
  for (const [key, what] of Object.entries(REFUSED)) {
    const value = reader.number(key) ?? 0;
    if (value !== 0 && value !== 1) {
      throw fileFailure(
        reader.name,
        `${reader.keyOf(key)} is ${show(value)}: ${what} is not supported.`,
      );
    }
  }
  const pattern = reader.get("attention.sliding_window_pattern");
  if (pattern !== undefined) {
    throw fileFailure(
      reader.name,
      "only some layers have a sliding window; only all or none is supported.",
    );
  }
}

function slidingWindowOf(reader: Reader): number {
  const window = reader.number("attention.sliding_window") ?? 0;
  if (Number.isInteger(window) && window >= 0 && window < 2 ** 31) return window;
  throw fileFailure(
    reader.name,
    `${reader.keyOf("attention.sliding_window")} is ${window}, which is no window.`,
  );
}

function figuresOf(reader: Reader, embedding: StoredTensor): Figures {
  const hidden = reader.required(KEYS.hidden), heads = reader.required(KEYS.heads);
  const figures: Figures = {
    layers: reader.required(KEYS.layers),
    hidden,
    intermediate: reader.required(KEYS.intermediate),
    heads,
    kvHeads: reader.number(KEYS.kvHeads) ?? heads,
    headDim: reader.number(KEYS.headDim) ?? hidden / heads,
    vocabulary: embedding.shape[0]!,
    context: reader.required(KEYS.context),
    normEpsilon: reader.required(KEYS.normEpsilon),
  };
  checkFigures(reader.name, figures, (figure) => reader.keyOf(KEYS[figure]));
  const values = reader.number("attention.value_length") ?? figures.headDim;
  if (values !== figures.headDim) {
    throw fileFailure(
      reader.name,
      `heads of ${figures.headDim} dimensions with values of ${values} are not supported.`,
    );
  }
  return figures;
}

function scalingOf(reader: Reader, context: number): RopeScaling {
  const type = reader.get("rope.scaling.type");
  const factor = reader.positive("rope.scaling.factor") ?? reader.positive("rope.scale_linear") ??
    1;
  if (type === "none" || factor === 1) return { type: "none" };
  if (type === undefined || type === "linear") return { type: "linear", factor };
  if (type !== "yarn") {
    throw fileFailure(
      reader.name,
      `RoPE of type ${show(type)} is not supported. Supported: none, linear, yarn.`,
    );
  }
  return {
    type: "yarn",
    factor,
    originalContext: reader.positive("rope.scaling.original_context_length") ?? context,
    betaFast: reader.positive("rope.scaling.yarn_beta_fast") ?? 32,
    betaSlow: reader.positive("rope.scaling.yarn_beta_slow") ?? 1,
    truncate: true,
    attentionFactor: yarnAttentionFactor(factor) *
      (reader.positive("rope.scaling.yarn_attn_factor") ??
        reader.positive("rope.scaling.attn_factor") ?? 1),
  };
}

/** Divides frequencies by the factors that a file gives for them (Llama 3.1's smoothing comes so). */
function applyFactors(rope: Rope, source: ByteSource, factors: StoredTensor | undefined): Rope {
  if (factors === undefined) return rope;
  const fail = (sentence: string) =>
    fileFailure(source.name, `tensor "${factors.name}" ${sentence}`);
  const count = rope.frequencies.length;
  if (factors.type !== "F32" || factors.shape.length !== 1 || factors.shape[0] !== count) {
    throw fail(`is ${factors.type} [${factors.shape}]; F32 [${count}] is needed.`);
  }
  const values = new Float32Array(source.read(factors.offset, 4 * count).buffer);
  if (!values.every((value) => Number.isFinite(value) && value > 0)) {
    throw fail("has values that are no factors.");
  }
  return { ...rope, frequencies: rope.frequencies.map((f, i) => f / values[i]!) };
}

function ropeOf(
  reader: Reader,
  figures: Figures,
  source: ByteSource,
  tensors: ReadonlyMap<string, StoredTensor>,
): { rope: Rope; context: number } {
  const dimensions = reader.number("rope.dimension_count") ?? figures.headDim;
  checkRopeDimensions(source.name, dimensions, figures.headDim);
  const theta = reader.positive("rope.freq_base") ?? 10_000;
  if (!(theta > 1)) {
    throw fileFailure(source.name, `rope.freq_base is ${theta}; it must be above 1.`);
  }
  const scaling = scalingOf(reader, figures.context);
  const plain = computeRope({ theta, dimensions, scaling });
  const longer = scaling.type === "yarn" ? Math.floor(scaling.factor * scaling.originalContext) : 0;
  return {
    rope: checkRope(
      source.name,
      applyFactors(plain, source, tensors.get("rope_freqs.weight")),
    ),
    context: Math.max(figures.context, longer),
  };
}

/**
 * Reads the configuration out of a GGUF file.
 * @throws {Failure} kind `model` that says what is missing, wrong or not supported
 */
export function ggufConfig(
  gguf: Gguf,
  source: ByteSource,
): { config: ModelConfig; interleaved: boolean } {
  const { metadata } = gguf;
  const architecture = architectureOf(metadata, source.name);
  const reader = new Reader(metadata, source.name);
  refuseUnsupported(reader, metadata);
  const tensors = new Map(gguf.tensors.map((tensor) => [tensor.name, tensor]));
  const embedding = tensors.get("token_embd.weight");
  if (embedding === undefined) {
    throw fileFailure(
      source.name,
      'tensor "token_embd.weight" is missing: is this a language model?',
    );
  }
  const figures = figuresOf(reader, embedding);
  const { rope, context } = ropeOf(reader, figures, source, tensors);
  const qkvBias = tensors.has("blk.0.attn_q.bias");
  if (qkvBias && architecture.interleaved) {
    throw fileFailure(
      source.name,
      'biases on q and k ("blk.0.attn_q.bias") of architecture llama are not supported.',
    );
  }
  const config: ModelConfig = {
    architecture: reader.architecture,
    ...figures,
    context,
    slidingWindow: slidingWindowOf(reader),
    tiedOutput: !tensors.has("output.weight"),
    qkvBias,
    qkNorm: architecture.qkNorm,
    rope,
  };
  return { config, interleaved: architecture.interleaved };
}
