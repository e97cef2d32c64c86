// SPDX-License-Identifier: Apache-2.0
/** RoPE in config.json: `rope_parameters`, or the older `rope_theta` with `rope_scaling`. */
import { fileFailure, show } from "./bytes.ts";
import type { HuggingFaceConfig } from "./config.ts";
import { checkRopeDimensions } from "./figures.ts";
import { type RopeParameters, type RopeScaling, yarnAttentionFactor } from "./rope.ts";

type Fields = Record<string, unknown>;

function isEmpty(fields: Fields | null | undefined): boolean {
  return fields === null || fields === undefined || Object.keys(fields).length === 0;
}

/** The parameters that count: the older key wins, as in transformers; one level deeper by layer type. */
function fieldsOf(config: HuggingFaceConfig, layerType: string): Fields {
  const fields = isEmpty(config.rope_scaling) ? config.rope_parameters : config.rope_scaling;
  const nested = fields?.[layerType];
  return (typeof nested === "object" && nested !== null ? nested as Fields : fields) ?? {};
}

class RopeReader {
  readonly #config: HuggingFaceConfig;
  readonly #fields: Fields;
  readonly #name: string;
  readonly #context: number;

  constructor(config: HuggingFaceConfig, fields: Fields, context: number, name: string) {
    this.#config = config;
    this.#fields = fields;
    this.#name = name;
    this.#context = context;
  }

  /** A positive finite number, or undefined when there is none. */
  optional(key: string): number | undefined {
    const value = this.#fields[key] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    throw fileFailure(
      this.#name,
      `RoPE's ${key} is ${show(value)}; it must be a number above 0.`,
    );
  }

  required(key: string): number {
    const value = this.optional(key);
    if (value !== undefined) return value;
    throw fileFailure(this.#name, `RoPE of type ${show(this.type)} needs "${key}".`);
  }

  get type(): unknown {
    return this.#fields.rope_type ?? this.#fields.type ?? "default";
  }

  get originalContext(): number {
    return this.#config.original_max_position_embeddings ??
      this.optional("original_max_position_embeddings") ?? this.#context;
  }

  get theta(): number {
    const theta = this.optional("rope_theta") ?? this.#config.rope_theta ??
      this.#config.rope_parameters?.rope_theta ?? 10_000;
    if (typeof theta === "number" && theta > 1 && theta < 1e30) return theta;
    throw fileFailure(this.#name, `rope_theta is ${theta}; it must be a number above 1.`);
  }

  scaling(): RopeScaling {
    switch (this.type) {
      case "default":
        return { type: "none" };
      case "linear":
        return { type: "linear", factor: this.required("factor") };
      case "llama3":
        return this.#llama3();
      case "yarn":
        return this.#yarn();
    }
    throw fileFailure(
      this.#name,
      `RoPE of type ${show(this.type)} is not supported. Supported: default, linear, ` +
        "llama3, yarn.",
    );
  }

  #llama3(): RopeScaling {
    const low = this.required("low_freq_factor"), high = this.required("high_freq_factor");
    if (high <= low) {
      throw fileFailure(
        this.#name,
        `RoPE's high_freq_factor (${high}) must be above low_freq_factor (${low}).`,
      );
    }
    return {
      type: "llama3",
      factor: this.required("factor"),
      lowFrequencyFactor: low,
      highFrequencyFactor: high,
      originalContext: this.originalContext,
    };
  }

  #yarn(): RopeScaling {
    const originalContext = this.originalContext;
    const factor = this.optional("factor") ?? this.#context / originalContext;
    const mscale = this.#multiplier("mscale"), mscaleAll = this.#multiplier("mscale_all_dim");
    const inferred = mscale && mscaleAll
      ? yarnAttentionFactor(factor, mscale) / yarnAttentionFactor(factor, mscaleAll)
      : yarnAttentionFactor(factor);
    return {
      type: "yarn",
      factor,
      originalContext,
      betaFast: this.#multiplier("beta_fast") || 32,
      betaSlow: this.#multiplier("beta_slow") || 1,
      truncate: this.#fields.truncate !== false,
      attentionFactor: this.optional("attention_factor") ?? inferred,
    };
  }

  /** As {@linkcode optional}; transformers takes 0 for "not given" here. */
  #multiplier(key: string): number | undefined {
    return this.#fields[key] === 0 ? undefined : this.optional(key);
  }
}

/**
 * RoPE of a model.
 * @param layerType of all its layers: "full_attention" or "sliding_attention"
 * @throws {Failure} kind `model` for kinds that are not supported and values that make no sense
 */
export function ropeParameters(
  config: HuggingFaceConfig,
  figures: { headDim: number; context: number },
  layerType: string,
  name: string,
): RopeParameters {
  const fields = fieldsOf(config, layerType);
  const reader = new RopeReader(config, fields, figures.context, name);
  const share = reader.optional("partial_rotary_factor") ?? config.partial_rotary_factor ?? 1;
  const dimensions = Math.floor(figures.headDim * share);
  checkRopeDimensions(name, dimensions, figures.headDim);
  return { theta: reader.theta, dimensions, scaling: reader.scaling() };
}
