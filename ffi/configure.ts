// SPDX-License-Identifier: Apache-2.0
/** A model and its settings as the arrays that the ABI takes. */
import { type ModelSource, TENSOR_ROLES, TENSOR_TYPES } from "../src/model/model.ts";
import type { ModelConfig } from "../src/model/model.ts";
import type { EngineLimits } from "../src/engine/engine.ts";
import {
  type Centring,
  type EngineSettings,
  HOST_ATTENTION,
  type IndexSettings,
} from "../src/engine/settings.ts";
import type { Library } from "./library.ts";
import * as abi from "./symbols.ts";

const CENTRINGS: Record<Centring, number> = {
  block: abi.CENTRING_BLOCK,
  context: abi.CENTRING_CONTEXT,
  off: abi.CENTRING_OFF,
};

function writeIndex(ints: Int32Array, index: IndexSettings): void {
  ints[abi.CONFIG_SINK] = index.sink;
  ints[abi.CONFIG_WINDOW] = index.window;
  ints[abi.CONFIG_INDEX_SEED] = index.seed;
  ints[abi.CONFIG_SKETCH_BITS] = index.sketchBits;
  ints[abi.CONFIG_SKETCH_CENTRING] = CENTRINGS[index.sketchCentring];
  ints[abi.CONFIG_LSH_BITS] = index.lsh?.bits ?? 0;
  ints[abi.CONFIG_LSH_TABLES] = index.lsh?.tables ?? 0;
  ints[abi.CONFIG_LSH_CENTRING] = CENTRINGS[index.lshCentring];
  ints[abi.CONFIG_LSH_TOKENS] = index.lshTokens;
  ints[abi.CONFIG_QUEST_PAGE] = index.questPage;
  ints[abi.CONFIG_YARDSTICKS] = index.yardsticks ? 1 : 0;
  ints[abi.CONFIG_DENSE_LAYERS] = index.denseLayers.length;
  ints[abi.CONFIG_LEAST_ROWS] = index.leastRows;
}

/** What the engine will hold itself to. */
export function limitsOf(
  { vocabulary, hidden }: ModelConfig,
  { context, kvBlocks, maxContexts, maxStepTokens, maxStepSequences }: EngineSettings,
): EngineLimits {
  return {
    vocabulary,
    hidden,
    context,
    kvBlocks,
    maxContexts,
    maxStepTokens,
    maxStepSequences,
  };
}

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
  ints[abi.CONFIG_DEVICE] = settings.device;
  ints[abi.CONFIG_HOST_LAYERS] = settings.hostLayers;
  ints[abi.CONFIG_HOST_ATTENTION] = HOST_ATTENTION.indexOf(settings.hostAttention);
  writeIndex(ints, settings.index);
  return ints;
}

/** `floats` of sounder_configure. */
function configFloats(config: ModelConfig): Float32Array<ArrayBuffer> {
  const floats = new Float32Array(abi.CONFIG_FLOAT_COUNT);
  floats[abi.CONFIG_NORM_EPSILON] = config.normEpsilon;
  floats[abi.CONFIG_ROPE_SCALE] = config.rope.scale;
  return floats;
}

/** The arrays of sounder_add_tensors, in the order of its parameters. */
function tensorArrays(source: ModelSource) {
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

/** Tells an engine everything about a model but its weights. `check` throws on a failure's status. */
export function describeModel(
  { symbols }: Library,
  handle: Deno.PointerValue,
  source: ModelSource,
  settings: EngineSettings,
  check: (status: number) => void,
): void {
  const ints = configInts(source.config, settings);
  const floats = configFloats(source.config);
  const frequencies = Float32Array.from(source.config.rope.frequencies);
  check(
    symbols.sounder_configure(
      handle,
      ints,
      ints.length,
      floats,
      floats.length,
      frequencies,
      frequencies.length,
    ),
  );
  const dense = Int32Array.from(settings.index.denseLayers);
  check(symbols.sounder_dense_layers(handle, dense, dense.length));
  for (const file of source.files) {
    const path = new TextEncoder().encode(file);
    check(symbols.sounder_add_file(handle, path, path.length));
  }
  const t = tensorArrays(source);
  check(
    symbols.sounder_add_tensors(
      handle,
      source.tensors.length,
      t.roles,
      t.layers,
      t.files,
      t.types,
      t.rows,
      t.columns,
      t.interleavedHeads,
      t.offsets,
    ),
  );
}
