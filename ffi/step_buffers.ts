// SPDX-License-Identifier: Apache-2.0
/**
 * The arrays of a step, allocated once for an engine and refilled for each step. They are fields that
 * outlive the call: the native side reads and writes them while the event loop runs.
 */
import {
  type EngineLimits,
  FULL_ATTENTION,
  type SequenceResult,
  type StageMs,
  type StepFailure,
  type StepSequence,
  type TokenLogprob,
} from "../src/engine/engine.ts";
import { readStatistics, writeAttention } from "./attention.ts";
import * as abi from "./symbols.ts";

const FAILURES: Record<number, StepFailure> = {
  [abi.OUT_OF_BLOCKS]: "out_of_blocks",
  [abi.OUT_OF_MEMORY]: "out_of_memory",
  [abi.CANCELLED]: "cancelled",
  [abi.UNKNOWN_CONTEXT]: "unknown_context",
  [abi.CONTEXT_FULL]: "context_full",
  [abi.NOT_FINITE]: "not_finite",
  [abi.NO_TOKEN]: "no_token",
};

/** For contexts that say nothing of attention. */
const EXACT = { ...FULL_ATTENTION, from: 0, verify: false };

/** Rows × SOUNDER_MAX_ALTERNATIVES tokens with their log-probabilities. */
class Alternatives {
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly logprobs: Float32Array<ArrayBuffer>;

  constructor(rows: number) {
    this.tokens = new Int32Array(rows * abi.MAX_ALTERNATIVES);
    this.logprobs = new Float32Array(rows * abi.MAX_ALTERNATIVES);
  }

  read(row: number, count: number): TokenLogprob[] {
    const list: TokenLogprob[] = [];
    for (let i = row * abi.MAX_ALTERNATIVES; list.length < count; ++i) {
      const token = this.tokens[i]!;
      if (token < 0) break;
      list.push({ token, logprob: this.logprobs[i]! });
    }
    return list;
  }
}

function rowOf<T extends Int32Array | Float32Array>(array: T, row: number, length: number): T {
  return array.subarray(row * length, (row + 1) * length) as T;
}

/** What the arrays have room for. */
type StepLimits = Pick<EngineLimits, "maxStepSequences" | "maxStepTokens" | "vocabulary">;

export class StepBuffers {
  readonly #limits: StepLimits;
  readonly contexts: Int32Array<ArrayBuffer>;
  readonly tokenCounts: Int32Array<ArrayBuffer>;
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly ints: Int32Array<ArrayBuffer>;
  readonly floats: Float32Array<ArrayBuffer>;
  readonly statuses: Int32Array<ArrayBuffer>;
  readonly sampled: Int32Array<ArrayBuffer>;
  readonly sampledLogprobs: Float32Array<ArrayBuffer>;
  readonly top: Alternatives;
  readonly statistics: Float32Array<ArrayBuffer>;
  readonly stageMs = new Float32Array(abi.STAGE_COUNT);
  /** Logit biases of all sequences, one after the other; grown when a step needs more. */
  biasTokens = new Int32Array(64);
  biasValues = new Float32Array(64);
  biasCount = 0;
  /** Rows of bits over the vocabulary; made by the first step that needs one, grown like the biases. */
  allowed: Uint32Array<ArrayBuffer> | null = null;
  allowedRows = 0;
  /** Made by the first step that scores. */
  givenLogprobs: Float32Array<ArrayBuffer> | null = null;
  given: Alternatives | null = null;

  constructor(limits: StepLimits) {
    const { maxStepSequences: maxSequences, maxStepTokens: maxTokens } = limits;
    this.#limits = limits;
    this.contexts = new Int32Array(maxSequences);
    this.tokenCounts = new Int32Array(maxSequences);
    this.tokens = new Int32Array(maxTokens);
    this.ints = new Int32Array(maxSequences * abi.STEP_INT_COUNT);
    this.floats = new Float32Array(maxSequences * abi.STEP_FLOAT_COUNT);
    this.statuses = new Int32Array(maxSequences);
    this.sampled = new Int32Array(maxSequences);
    this.sampledLogprobs = new Float32Array(maxSequences);
    this.top = new Alternatives(maxSequences);
    this.statistics = new Float32Array(maxSequences * abi.STATISTIC_COUNT);
  }

  /** Fills the input arrays. The caller has checked counts against the limits. */
  write(sequences: readonly StepSequence[]): void {
    this.biasCount = 0;
    this.allowedRows = 0;
    let start = 0;
    sequences.forEach((sequence, row) => {
      this.contexts[row] = sequence.context;
      this.tokenCounts[row] = sequence.tokens.length;
      this.tokens.set(sequence.tokens, start);
      start += sequence.tokens.length;
      const ints = rowOf(this.ints, row, abi.STEP_INT_COUNT);
      const floats = rowOf(this.floats, row, abi.STEP_FLOAT_COUNT);
      this.#writeInts(sequence, ints);
      this.#writeFloats(sequence, floats);
      writeAttention(sequence.attention ?? EXACT, ints, floats);
    });
    if (this.given === null && sequences.some((sequence) => sequence.score !== undefined)) {
      this.givenLogprobs = new Float32Array(this.#limits.maxStepTokens);
      this.given = new Alternatives(this.#limits.maxStepTokens);
    }
  }

  #writeInts(sequence: StepSequence, ints: Int32Array): void {
    const { sampling, score } = sequence;
    ints[abi.STEP_SAMPLE] = sampling === null ? 0 : 1;
    ints[abi.STEP_TOP_K] = sampling?.topK ?? 0;
    ints[abi.STEP_SEED_LOW] = Number(BigInt.asIntN(32, sampling?.seed ?? 0n));
    ints[abi.STEP_SEED_HIGH] = Number(BigInt.asIntN(32, (sampling?.seed ?? 0n) >> 32n));
    ints[abi.STEP_CHOICE] = sequence.choice;
    ints[abi.STEP_PROMPT_TOKENS] = sequence.promptTokens;
    ints[abi.STEP_ALTERNATIVES] = Math.max(sequence.alternatives, score?.alternatives ?? 0);
    ints[abi.STEP_BIAS_START] = this.biasCount;
    ints[abi.STEP_BIAS_COUNT] = sampling === null ? 0 : this.#writeBias(sampling.logitBias);
    ints[abi.STEP_ALLOWED_ROW] = sampling === null ? -1 : this.#writeAllowed(sequence.allowed);
    ints[abi.STEP_SCORE] = score === undefined ? 0 : 1;
    ints[abi.STEP_NEXT_TOKEN] = score?.nextToken ?? -1;
    ints[abi.STEP_HIDDEN] = sequence.hidden ? 1 : 0;
    ints[abi.STEP_STAGES] = sequence.stages ? 1 : 0;
  }

  #writeFloats({ sampling }: StepSequence, floats: Float32Array): void {
    floats[abi.STEP_TEMPERATURE] = sampling?.temperature ?? 0;
    floats[abi.STEP_TOP_P] = sampling?.topP ?? 1;
    floats[abi.STEP_MIN_P] = sampling?.minP ?? 0;
    floats[abi.STEP_REPETITION_PENALTY] = sampling?.repetitionPenalty ?? 1;
    floats[abi.STEP_PRESENCE_PENALTY] = sampling?.presencePenalty ?? 0;
    floats[abi.STEP_FREQUENCY_PENALTY] = sampling?.frequencyPenalty ?? 0;
  }

  /** The row that was written, or -1. */
  #writeAllowed(allowed: Uint32Array | null | undefined): number {
    if (allowed == null) return -1;
    const words = Math.ceil(this.#limits.vocabulary / 32);
    const row = this.allowedRows++;
    const needed = this.allowedRows * words;
    if (this.allowed === null || needed > this.allowed.length) {
      const before = this.allowed;
      this.allowed = new Uint32Array(2 * needed);
      if (before !== null) this.allowed.set(before);
    }
    this.allowed.fill(0, row * words, needed);
    this.allowed.set(allowed.subarray(0, words), row * words);
    return row;
  }

  #writeBias(bias: ReadonlyMap<number, number>): number {
    const needed = this.biasCount + bias.size;
    if (needed > this.biasTokens.length) {
      const [tokens, values] = [this.biasTokens, this.biasValues];
      this.biasTokens = new Int32Array(2 * needed);
      this.biasValues = new Float32Array(2 * needed);
      this.biasTokens.set(tokens);
      this.biasValues.set(values);
    }
    for (const [token, value] of bias) {
      this.biasTokens[this.biasCount] = token;
      this.biasValues[this.biasCount++] = value;
    }
    return bias.size;
  }

  /** What the step gave each sequence. */
  read(sequences: readonly StepSequence[]): SequenceResult[] {
    let start = 0;
    return sequences.map((sequence, row) => {
      const result = this.#readSequence(sequence, row, start);
      start += sequence.tokens.length;
      return result;
    });
  }

  #readSequence(sequence: StepSequence, row: number, start: number): SequenceResult {
    const status = this.statuses[row]!;
    const result: SequenceResult = {
      failure: status === abi.OK ? null : FAILURES[status] ?? "invalid",
      token: this.sampled[row]!,
      logprob: this.sampledLogprobs[row]!,
      alternatives: this.top.read(row, sequence.alternatives),
      ...readStatistics(rowOf(this.statistics, row, abi.STATISTIC_COUNT)),
    };
    const { score } = sequence;
    if (score !== undefined && status === abi.OK) {
      result.given = Array.from({ length: sequence.tokens.length }, (_, i) => ({
        logprob: this.givenLogprobs![start + i]!,
        alternatives: this.given!.read(start + i, score.alternatives),
      }));
    }
    return result;
  }

  readStages(): StageMs {
    return {
      total: this.stageMs[abi.STAGE_TOTAL]!,
      matmul: this.stageMs[abi.STAGE_MATMUL]!,
      attention: this.stageMs[abi.STAGE_ATTENTION]!,
      output: this.stageMs[abi.STAGE_OUTPUT]!,
      sampling: this.stageMs[abi.STAGE_SAMPLING]!,
      other: this.stageMs[abi.STAGE_OTHER]!,
      choosing: this.stageMs[abi.STAGE_CHOOSING]!,
    };
  }
}
