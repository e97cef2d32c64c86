// SPDX-License-Identifier: Apache-2.0
/**
 * Frequencies of the rotary position embedding. Every step rounds to float32 where transformers' tensors
 * do, so that angles at long positions agree: an angle is position × frequency.
 */
import type { Rope } from "./model.ts";

/** How frequencies are made longer for contexts beyond those of the first training. */
export type RopeScaling =
  | { type: "none" }
  | { type: "linear"; factor: number }
  | {
    type: "llama3";
    factor: number;
    lowFrequencyFactor: number;
    highFrequencyFactor: number;
    originalContext: number;
  }
  | {
    type: "yarn";
    factor: number;
    originalContext: number;
    betaFast: number;
    betaSlow: number;
    /** Round the corrected range of pairs outwards to whole pairs. */
    truncate: boolean;
    /** Factor on cosine and sine. */
    attentionFactor: number;
  };

/** What frequencies are computed from. */
export interface RopeParameters {
  theta: number;
  /** Rotated dimensions of a head, even. */
  dimensions: number;
  scaling: RopeScaling;
}

const f32 = Math.fround;

/** YaRN's factor on cosine and sine for a context that is `factor` times as long. */
export function yarnAttentionFactor(factor: number, multiplier = 1): number {
  return factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1;
}

/** theta^(2i / dimensions) of pair i. */
function wavelengths({ theta, dimensions }: RopeParameters): Float32Array {
  return Float32Array.from(
    { length: dimensions / 2 },
    (_, i) => Math.pow(f32(theta), f32(2 * i / dimensions)),
  );
}

type Scaling<T extends RopeScaling["type"]> = Extract<RopeScaling, { type: T }>;

/** Llama 3.1: long waves are stretched by the factor, short ones kept, those between interpolated. */
function stretchLongWaves(frequency: number, scaling: Scaling<"llama3">): number {
  const { originalContext, lowFrequencyFactor: low, highFrequencyFactor: high } = scaling;
  const factor = f32(scaling.factor);
  const wavelength = f32(f32(2 * Math.PI) / frequency);
  if (wavelength > f32(originalContext / low)) return f32(frequency / factor);
  if (wavelength < f32(originalContext / high)) return frequency;
  const smooth = f32(f32(f32(f32(originalContext) / wavelength) - f32(low)) / f32(high - low));
  return f32(f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency));
}

/** First and last pair between which YaRN goes over from kept to stretched frequencies. */
function yarnRange({ theta, dimensions }: RopeParameters, scaling: Scaling<"yarn">) {
  const pairOf = (rotations: number) =>
    dimensions * Math.log(scaling.originalContext / (rotations * 2 * Math.PI)) /
    (2 * Math.log(theta));
  let low = pairOf(scaling.betaFast), high = pairOf(scaling.betaSlow);
  if (scaling.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, dimensions - 1);
  return { low, high: low === high ? high + 0.001 : high };
}

function yarn(parameters: RopeParameters, scaling: Scaling<"yarn">): Float32Array {
  const { low, high } = yarnRange(parameters, scaling);
  return wavelengths(parameters).map((wavelength, i) => {
    const kept = f32(1 / wavelength);
    const stretched = f32(1 / f32(f32(scaling.factor) * wavelength));
    const ramp = Math.min(1, Math.max(0, f32(f32(i - f32(low)) / f32(high - low))));
    const keep = f32(1 - ramp);
    return f32(f32(stretched * f32(1 - keep)) + f32(kept * keep));
  });
}

/** Frequencies and scale for the parameters, which must be checked: positive, finite, even dimensions. */
export function computeRope(parameters: RopeParameters): Rope {
  const { scaling } = parameters;
  const plain = () => wavelengths(parameters).map((wavelength) => 1 / wavelength);
  switch (scaling.type) {
    case "none":
      return { frequencies: plain(), scale: 1 };
    case "linear":
      return { frequencies: plain().map((f) => f / f32(scaling.factor)), scale: 1 };
    case "llama3":
      return { frequencies: plain().map((f) => stretchLongWaves(f, scaling)), scale: 1 };
    case "yarn":
      return { frequencies: yarn(parameters, scaling), scale: scaling.attentionFactor };
  }
}
