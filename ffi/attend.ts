// SPDX-License-Identifier: Apache-2.0
/** What a strategy makes of given queries over a context's KV: for tests, figures and benches. */
import { type AttentionParams, type ContextId, FULL_ATTENTION } from "../src/engine/engine.ts";
import { Failure } from "../src/errors.ts";
import { readStatistics, type Statistics, writeAttention } from "./attention.ts";
import type { Library } from "./library.ts";
import * as abi from "./symbols.ts";

/** One query token, which stands at the context's last position. */
export interface AttendRequest {
  context: ContextId;
  layer: number;
  params: AttentionParams;
  /** [heads × headDim] after RoPE. */
  q: Float32Array<ArrayBuffer>;
  /** Compute it exactly too, and report the difference. */
  verify?: boolean;
  /** Report scores. */
  scores?: boolean;
}

export interface AttendResult {
  /** [heads × headDim] */
  output: Float32Array<ArrayBuffer>;
  statistics: Statistics;
  /**
   * [heads × tokens]: what the sketch estimates of q·k / √d, NaN where it makes no estimate; with any other
   * strategy the true scores.
   */
  scores: Float32Array<ArrayBuffer> | null;
}

/** What lengths follow from. */
export interface AttendShape {
  layers: number;
  heads: number;
  headDim: number;
}

/** Arrays of a call to sounder_attend; they outlive it. */
export class AttendCall {
  readonly #request: AttendRequest;
  readonly #ints = new Int32Array(abi.STEP_INT_COUNT);
  readonly #floats = new Float32Array(abi.STEP_FLOAT_COUNT);
  readonly #output: Float32Array<ArrayBuffer>;
  readonly #statistics = new Float32Array(abi.STATISTIC_COUNT);
  readonly #scores: Float32Array<ArrayBuffer> | null;

  /** @throws {Failure} kind `engine` when a length or the layer is wrong. */
  constructor(request: AttendRequest, { layers, heads, headDim }: AttendShape, tokens: number) {
    const { q, layer, params, verify = false, scores = false } = request;
    if (q.length !== heads * headDim) {
      throw new Failure("engine", `q has ${q.length} values, not ${heads} heads × ${headDim}.`);
    }
    if (!Number.isInteger(layer) || layer < 0 || layer >= layers) {
      throw new Failure("engine", `There is no layer ${layer}: there are 0 to ${layers - 1}.`);
    }
    if (tokens === 0) throw new Failure("engine", "The context has no tokens to attend to.");
    this.#request = request;
    this.#output = new Float32Array(heads * headDim);
    this.#scores = scores ? new Float32Array(heads * tokens) : null;
    writeAttention({ ...FULL_ATTENTION, ...params, from: 0, verify }, this.#ints, this.#floats);
  }

  start(symbols: Library["symbols"], engine: Deno.PointerValue): Promise<number> {
    const { context, layer, q } = this.#request;
    return symbols.sounder_attend(
      engine,
      context,
      layer,
      this.#ints,
      this.#floats,
      q,
      this.#output,
      this.#statistics,
      this.#scores,
    );
  }

  result(): AttendResult {
    return {
      output: this.#output,
      statistics: readStatistics(this.#statistics),
      scores: this.#scores,
    };
  }
}
