// SPDX-License-Identifier: Apache-2.0
/** A model and its settings as the arrays that the ABI takes. */
import { type ModelSource, TENSOR_ROLES, TENSOR_TYPES } from "../src/model/model.ts";
import type { ModelConfig } from "../src/model/model.ts";
import type { EngineSettings } from "../src/engine/settings.ts";
import * as abi from "./symbols.ts";

/** `ints` of sounder_configure and sounder_plan_memory. */
export function configInts(
  config: ModelConfig,
  settings: EngineSettings,
): Int32Array<ArrayBuffer> {
  const ints = new Int32Array(abi.CONFIG_INT_COUNT);
  ints[abi.CONFIG_LAYERS] = config.layers;
  ints[abi.CONFIG_HIDDEN] = config.hidden;
  ints[abi.CONFIG_INTERMEDIATE] = config.intermediate;
  ints[abi.CONFIG_HEADS] = config.heads;
  ints[abi.CONFIG_KV_HEADS] = config.kvHeads;
  ints[abi.CONFIG_HEAD_DIM] = config.headDim;
  ints[abi.CONFIG_VOCABULARY] = config.vocabulary;
  ints[abi.CONFIG_CONTEXT] = settings.context;
  ints[abi.CONFIG_SLIDING_WINDOW] = config.slidingWindow;
  ints[abi.CONFIG_TIED_OUTPUT] = config.tiedOutput ? 1 : 0;
  ints[abi.CONFIG_QKV_BIAS] = config.qkvBias ? 1 : 0;
  ints[abi.CONFIG_QK_NORM] = config.qkNorm ? 1 : 0;
  ints[abi.CONFIG_ROPE_DIMS] = 2 * config.rope.frequencies.length;
  ints[abi.CONFIG_PRECISION] = settings.precision === "f32"
    ? abi.PRECISION_F32
    : abi.PRECISION_BF16;
  ints[abi.CONFIG_THREADS] = settings.threads;
  ints[abi.CONFIG_KV_BLOCKS] = settings.kvBlocks;
  ints[abi.CONFIG_MAX_CONTEXTS] = settings.maxContexts;
  ints[abi.CONFIG_MAX_STEP_TOKENS] = settings.maxStepTokens;
  ints[abi.CONFIG_MAX_STEP_SEQUENCES] = settings.maxStepSequences;
  ints[abi.CONFIG_DUMMY_SEED] = settings.dummySeed;
  ints[abi.CONFIG_DETERMINISTIC] = settings.deterministic ? 1 : 0;
  return ints;
}

/** `floats` of sounder_configure. */
export function configFloats(config: ModelConfig): Float32Array<ArrayBuffer> {
  const floats = new Float32Array(abi.CONFIG_FLOAT_COUNT);
  floats[abi.CONFIG_NORM_EPSILON] = config.normEpsilon;
  floats[abi.CONFIG_ROPE_SCALE] = config.rope.scale;
  return floats;
}

/** The arrays of sounder_add_tensors, in the order of its parameters. */
export function tensorArrays(source: ModelSource) {
  const column = (value: (tensor: ModelSource["tensors"][number]) => number) =>
    Int32Array.from(source.tensors, value);
  return {
    roles: column((t) => TENSOR_ROLES[t.role]),
    layers: column((t) => t.layer),
    files: column((t) => t.file),
    types: column((t) => TENSOR_TYPES[t.type]),
    rows: column((t) => t.rows),
    columns: column((t) => t.columns),
    interleavedHeads: column((t) => t.interleavedHeads),
    offsets: BigInt64Array.from(source.tensors, (t) => BigInt(t.offset)),
  };
}
