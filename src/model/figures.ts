// SPDX-License-Identifier: Apache-2.0
/** What must hold between a model's figures, whatever file they came from. */
import { fileFailure } from "./bytes.ts";
import type { ModelConfig, Rope } from "./model.ts";

/** Figures that a file states; the rest of a {@linkcode ModelConfig} follows from them. */
export type Figures = Pick<
  ModelConfig,
  | "layers"
  | "hidden"
  | "intermediate"
  | "heads"
  | "kvHeads"
  | "headDim"
  | "vocabulary"
  | "context"
  | "normEpsilon"
>;

/** Bounds of the engine (native/src/config.cpp), far beyond any model; the context is cut to what fits. */
const MOST: Record<keyof Figures, number> = {
  layers: 1024,
  hidden: 1 << 17,
  intermediate: 1 << 20,
  heads: 1024,
  kvHeads: 1024,
  headDim: 256,
  vocabulary: 1 << 24,
  context: 1 << 30,
  normEpsilon: 1,
};

/**
 * Checks the figures against each other.
 * @param keyOf how the file calls a figure
 * @throws {Failure} kind `model`
 */
export function checkFigures(
  name: string,
  figures: Figures,
  keyOf: (figure: keyof Figures) => string,
): void {
  for (const figure of Object.keys(MOST) as (keyof Figures)[]) {
    const value = figures[figure];
    const whole = figure === "normEpsilon" || Number.isInteger(value);
    if (!(whole && value > 0 && value <= MOST[figure])) {
      throw fileFailure(
        name,
        `${keyOf(figure)} is ${value}; supported is up to ${MOST[figure]}, and more than 0.`,
      );
    }
  }
  const { heads, kvHeads, headDim } = figures;
  if (heads % kvHeads !== 0) {
    throw fileFailure(
      name,
      `${keyOf("heads")} (${heads}) is no multiple of ${keyOf("kvHeads")} (${kvHeads}).`,
    );
  }
  if (headDim % 2 !== 0) {
    throw fileFailure(name, `${keyOf("headDim")} is ${headDim}; it must be even.`);
  }
}

/** Checks the number of rotated dimensions of a head. @throws {Failure} kind `model` */
export function checkRopeDimensions(name: string, dimensions: number, headDim: number): void {
  if (!(dimensions >= 2 && dimensions <= headDim && dimensions % 2 === 0)) {
    throw fileFailure(
      name,
      `RoPE rotates ${dimensions} of the ${headDim} dimensions of a head; it must be an even ` +
        "number of them, at least 2.",
    );
  }
}

/** Makes sure that angles are numbers at every position. @throws {Failure} kind `model` */
export function checkRope(name: string, rope: Rope): Rope {
  const isUsable = (value: number) => Number.isFinite(value) && value >= 0 && value <= 1e6;
  if (rope.frequencies.every(isUsable) && isUsable(rope.scale) && rope.scale > 0) return rope;
  throw fileFailure(
    name,
    "RoPE's parameters give frequencies that make no sense: check its factors.",
  );
}
