// SPDX-License-Identifier: Apache-2.0
/** Hugging Face's config.json as a {@linkcode ModelConfig}, with transformers' defaults. */
import { z } from "zod";
import { fileFailure, parseJson, show } from "./bytes.ts";
import { type Family, familyOf, type RawConfig, refuseUnsupported } from "./families.ts";
import { checkFigures, checkRope, type Figures } from "./figures.ts";
import type { ModelConfig } from "./model.ts";
import { computeRope, type RopeScaling } from "./rope.ts";
import { ropeParameters } from "./rope_config.ts";

const count = z.int().min(1);
const flag = z.boolean().nullish();
const tokens = z.union([z.int(), z.array(z.int())]).nullish();

/** The keys that matter; others stay as they are. */
const Schema = z.looseObject({
  model_type: z.string().nullish(),
  architectures: z.array(z.string()).nullish(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  max_position_embeddings: count.nullish(),
  original_max_position_embeddings: count.nullish(),
  rms_norm_eps: z.number().nullish(),
  hidden_act: z.string().nullish(),
  tie_word_embeddings: flag,
  attention_bias: flag,
  mlp_bias: flag,
  sliding_window: z.int().min(0).nullish(),
  use_sliding_window: flag,
  max_window_layers: z.int().min(0).nullish(),
  layer_types: z.array(z.string()).nullish(),
  rope_theta: z.number().nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  partial_rotary_factor: z.number().nullish(),
  eos_token_id: tokens,
});
export type HuggingFaceConfig = z.infer<typeof Schema>;

const KEYS: Record<keyof Figures, string> = {
  layers: "num_hidden_layers",
  hidden: "hidden_size",
  intermediate: "intermediate_size",
  heads: "num_attention_heads",
  kvHeads: "num_key_value_heads",
  headDim: "head_dim",
  vocabulary: "vocab_size",
  context: "max_position_embeddings",
  normEpsilon: "rms_norm_eps",
};

function figuresOf(config: HuggingFaceConfig, family: Family, name: string): Figures {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const headDim = config.head_dim ?? family.headDim ?? hidden / heads;
  if (!Number.isInteger(headDim)) {
    throw fileFailure(
      name,
      `hidden_size (${hidden}) is no multiple of num_attention_heads (${heads}).`,
    );
  }
  const figures: Figures = {
    layers: config.num_hidden_layers,
    hidden,
    intermediate: config.intermediate_size,
    heads,
    // null means as many as heads; a missing key means the family's default.
    kvHeads: config.num_key_value_heads ??
      (config.num_key_value_heads === null ? heads : family.kvHeads ?? heads),
    headDim,
    vocabulary: config.vocab_size,
    context: config.max_position_embeddings ?? family.context,
    normEpsilon: config.rms_norm_eps ?? 1e-6,
  };
  checkFigures(name, figures, (figure) => KEYS[figure]);
  return figures;
}

/** How many layers slide, as transformers decides it. */
function slidingLayers(config: HuggingFaceConfig, window: number, name: string): number {
  const layers = config.num_hidden_layers;
  const types = config.layer_types;
  if (types === null || types === undefined) {
    return window === 0 ? 0 : Math.max(0, layers - (config.max_window_layers ?? 28));
  }
  const other = types.find((t) => t !== "full_attention" && t !== "sliding_attention");
  if (other !== undefined) {
    throw fileFailure(name, `layer_types has ${show(other)}, which is not supported.`);
  }
  if (types.length !== layers) {
    throw fileFailure(name, `layer_types has ${types.length} entries for ${layers} layers.`);
  }
  return types.filter((t) => t === "sliding_attention").length;
}

/** The window that all layers share; 0: none. */
function slidingWindow(
  config: HuggingFaceConfig,
  family: Family,
  context: number,
  name: string,
): number {
  if (family.slidingWindow === "never") return 0;
  const given = config.sliding_window === undefined ? 4096 : config.sliding_window ?? 0;
  if (family.slidingWindow === "always" && !config.layer_types) return given;
  const window = family.slidingWindow === "always" || config.use_sliding_window ? given : 0;
  const sliding = slidingLayers(config, window, name);
  if (sliding === 0) return 0;
  if (window === 0) {
    throw fileFailure(name, "layer_types has sliding_attention, but there is no sliding_window.");
  }
  if (sliding === config.num_hidden_layers) return window;
  // A window that the context never fills changes nothing.
  if (window >= context) return 0;
  throw fileFailure(
    name,
    `${sliding} of ${config.num_hidden_layers} layers have a sliding window; only all or none is ` +
      "supported.",
  );
}

/** Tokens that YaRN was set up for: some configurations keep the length of the first training. */
function contextWith(scaling: RopeScaling, context: number): number {
  if (scaling.type !== "yarn") return context;
  return Math.max(context, Math.floor(scaling.factor * scaling.originalContext));
}

/** End tokens of config.json or generation_config.json: one, a list, or none. */
export function endTokensOf(value: number | number[] | null | undefined): number[] {
  return [value ?? []].flat();
}

/**
 * Reads a config.json.
 * @param name of the file, for messages
 * @throws {Failure} kind `model` that says which key is wrong or what is not supported
 */
export function parseConfig(
  text: string,
  name: string,
): { config: ModelConfig; endTokens: number[] } {
  const json = parseJson(text, name);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw fileFailure(name, "is no JSON object.");
  }
  // What is not supported is said before what is missing: other families have other keys.
  const [architecture, family] = familyOf(json as RawConfig, name);
  refuseUnsupported(json as RawConfig, family, name);
  const { data: raw, error } = Schema.safeParse(json);
  if (raw === undefined) {
    const issue = error.issues[0]!;
    throw fileFailure(name, `${issue.path.join(".")}: ${issue.message}.`);
  }
  const figures = figuresOf(raw, family, name);
  const window = slidingWindow(raw, family, figures.context, name);
  const layerType = window > 0 ? "sliding_attention" : "full_attention";
  const rope = ropeParameters(raw, figures, layerType, name);
  return {
    config: {
      architecture,
      ...figures,
      context: contextWith(rope.scaling, figures.context),
      slidingWindow: window,
      tiedOutput: raw.tie_word_embeddings ?? false,
      qkvBias: family.qkvBias,
      qkNorm: family.qkNorm,
      rope: checkRope(name, computeRope(rope)),
    },
    endTokens: endTokensOf(raw.eos_token_id),
  };
}
