// SPDX-License-Identifier: Apache-2.0
/**
 * The border between the scheduler and whatever computes: `ffi/engine.ts` implements it with the native
 * library, `tests/fixtures/fake_engine.ts` without. The words are those of `native/include/sounder.h`.
 */

/** A context of the engine: the KV cache of one token sequence. */
export type ContextId = number;

/** How the next token of a sequence is chosen. */
export interface SamplingParams {
  /** 0 is greedy. */
  temperature: number;
  /** 0 is off. */
  topK: number;
  /** 1 is off. */
  topP: number;
  /** 0 is off. */
  minP: number;
  /** 1 is off; counts prompt and generated tokens. */
  repetitionPenalty: number;
  /** 0 is off; counts generated tokens. */
  presencePenalty: number;
  /** 0 is off; counts generated tokens. */
  frequencyPenalty: number;
  /** 64 bits; with `choice` and the position it decides every random draw. */
  seed: bigint;
  /** Added to the logits of these tokens. */
  logitBias: ReadonlyMap<number, number>;
}

/** Sampling that takes the most likely token and changes nothing. */
export const GREEDY: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0n,
  logitBias: new Map(),
};

/** A token as the first new token of a step: the one sampled last in its context. */
export const LAST_SAMPLED = -1;

/** Most alternatives a step reports for a token. */
export const MAX_ALTERNATIVES = 20;

/** Tokens of a KV block. */
export const BLOCK_TOKENS = 128;

/** A token with its log-probability. */
export interface TokenLogprob {
  token: number;
  logprob: number;
}

/** How new tokens attend: the strategies of `enum sounder_attention`, in its order. */
export const STRATEGIES = ["full", "sketch", "lsh", "quest", "topk", "oracle"] as const;
export type Strategy = typeof STRATEGIES[number];

/** A strategy and its parameters. Together with a token's position they decide every draw. */
export interface AttentionParams {
  strategy: Strategy;
  /** Expected share of a KV head's rows that are read, over 0 to 1 (`lsh`: its tables decide). */
  budget: number;
  /** `sketch`: exponent on the estimated probabilities. */
  beta: number;
  /** 64 bits. */
  seed: bigint;
  /** `lsh`: tables in which a key must share the query's code, 1 to 3. */
  collisions: number;
  /** `oracle`: 0 for Poisson sampling, otherwise the number of independent draws. */
  draws: number;
}

/** The exact one. */
export const FULL_ATTENTION: AttentionParams = {
  strategy: "full",
  budget: 1,
  beta: 1,
  seed: 0n,
  collisions: 2,
  draws: 0,
};

/** What one context does in a step. */
export interface StepSequence {
  context: ContextId;
  /** New tokens, at least one; the first may be {@linkcode LAST_SAMPLED}. */
  tokens: ArrayLike<number>;
  /** Sample a token after the last new one with these parameters; null samples none. */
  sampling: SamplingParams | null;
  /** The tokens that may be sampled, as bits in rows of 32; null: all of them. */
  allowed?: Uint32Array | null;
  /** Index of the choice (n > 1). */
  choice: number;
  /** Tokens of the context that are prompt: penalties count those after as generated. */
  promptTokens: number;
  /** Most likely tokens to report beside the sampled one, 0 to {@linkcode MAX_ALTERNATIVES}. */
  alternatives: number;
  /** Score the new tokens: report the log-probability of what follows each of them. */
  score?: {
    /** The token that follows the last new one, or -1. */
    nextToken: number;
    /** Most likely tokens to report at each position, 0 to {@linkcode MAX_ALTERNATIVES}. */
    alternatives: number;
  };
  /** Add up the new tokens' hidden states. */
  hidden?: true;
  /** Have a GPU tell the stages of the step apart, which takes it longer: for benches. */
  stages?: true;
  /** How the new tokens at position `from` and after it attend; absent, or before it: exactly. */
  attention?: AttentionParams & {
    from: number;
    /** Compute sampled attention exactly too, and report the difference. */
    verify: boolean;
  };
}

/** Why a context's part of a step failed. The context is as long as before the step. */
export type StepFailure =
  | "cancelled"
  | "out_of_blocks"
  /** Of memory for `lsh` tables. */
  | "out_of_memory"
  | "context_full"
  | "not_finite"
  | "no_token"
  | "unknown_context"
  | "invalid";

/** What a step gave one context. */
export interface SequenceResult {
  /** null when it succeeded. */
  failure: StepFailure | null;
  /** The sampled token, or -1. */
  token: number;
  /** Of all tokens, before bias, penalties, temperature and `allowed`. */
  logprob: number;
  /** Best first. */
  alternatives: TokenLogprob[];
  /** Only with `score`: for each new token, the log-probability of what follows it. */
  given?: { logprob: number; alternatives: TokenLogprob[] }[];
  /** Only with `hidden`: the sum over the new tokens of their hidden states after the final norm. */
  hidden?: Float32Array;
  /** Keys that the last new token read, mean over layers and heads, and how many there were. */
  keysRead: number;
  keysTotal: number;
  /** What sampling did for the last new token; null when no layer sampled. */
  sampled: SampledFigures | null;
}

/** Figures of sampled attention for one token: means over the layers that sampled. */
export interface SampledFigures {
  /** Keys there were to choose from, and of these those read for a query head, and rows read for a KV head. */
  offloaded: number;
  chosenKeys: number;
  chosenRows: number;
  /** Independent draws from the true attention that would be as exact; Infinity: nothing was left to chance. */
  effectiveSamples: number;
  /** Relative standard error of the attention output. */
  standardError: number;
  /** Relative difference to exact attention; null: not verified. */
  verifyError: number | null;
}

/** Time of a step by stage; a GPU tells only steps apart that ask for it. */
export interface StageMs {
  total: number;
  matmul: number;
  attention: number;
  output: number;
  sampling: number;
  /** Norms, rotations, KV that is appended, and what is not told apart. */
  other: number;
  /** Which rows sampled attention reads: on a GPU; on the CPU a part of `attention`. */
  choosing: number;
}

/** What a step gave. `sequences` are in the order of the request. */
export interface StepResult {
  sequences: SequenceResult[];
  stageMs: StageMs;
}

/** Figures that do not change while the engine lives. */
export interface EngineLimits {
  vocabulary: number;
  /** Width of a hidden state. */
  hidden: number;
  /** Longest context in tokens. */
  context: number;
  /** Capacity of the KV pool. */
  kvBlocks: number;
  maxContexts: number;
  maxStepTokens: number;
  maxStepSequences: number;
}

/** Figures of this moment. */
export interface EngineUsage {
  kvBlocksFree: number;
  contexts: number;
}

/** Where a saved context lies, and of which model and tokenizer it is: 64 bytes, see `src/sessions/identity.ts`. */
export interface SavedPlace {
  path: string;
  identity: Uint8Array;
}

/** What a saved context holds. */
export interface SavedContext {
  /** Tokens in it, and the first of them whose KV exact attention made. */
  length: number;
  exact: number;
  /** Size of its file. */
  bytes: number;
  /** Whatever the caller of the save wanted to know again. */
  note: string;
  /** As many of its tokens as the engine's longest context has. */
  tokens: Int32Array;
}

/**
 * Runs steps over contexts. One step at a time; contexts that are in the running step must not be
 * forked, truncated or freed until it ended. What returns no promise is short.
 */
export interface Engine {
  readonly limits: EngineLimits;
  usage(): EngineUsage;
  /** @throws {Failure} kind `engine` when no context is free. */
  createContext(): ContextId;
  /** A new context with the first `tokens` tokens of another one; full blocks are shared. */
  forkContext(context: ContextId, tokens: number): ContextId;
  truncateContext(context: ContextId, tokens: number): void;
  freeContext(context: ContextId): void;
  contextLength(context: ContextId): number;
  /** First tokens of a context whose KV was computed by exact attention alone: what others may share. */
  contextExact(context: ContextId): number;
  /**
   * Writes the first tokens of a context to a file, beside steps, also when it takes part in one. One save or
   * restore runs at a time. Its blocks count as used until it ended, also when the context is freed.
   * @throws {Failure} kind `storage` with the system's reason (a full disk), `unavailable` when another transfer
   * runs; nothing is left then
   */
  saveContext(context: ContextId, tokens: number, place: SavedPlace, note: string): Promise<void>;
  /**
   * A new context with the first tokens that were saved: all, or those of whole blocks.
   * @throws {Failure} kind `storage` when the file is damaged or of another model or too long for this engine,
   * `memory` when there is no room now, `unavailable` as above
   */
  restoreContext(place: SavedPlace, tokens?: number): Promise<ContextId>;
  /** Ends the running save or restore within one block: kind `unavailable`. */
  cancelTransfer(): void;
  /** What is in a file, checked up to its blocks. @throws {Failure} kind `storage` */
  describeSaved(place: SavedPlace): Promise<SavedContext>;
  /** @throws {Failure} kind `engine` when the call itself was wrong; single contexts fail alone. */
  step(sequences: readonly StepSequence[]): Promise<StepResult>;
  /** Ends this context's part of the running step within one layer. */
  cancel(context: ContextId): void;
  /** Share of the running step that is done for this context, 0 to 1. */
  progress(context: ContextId): number;
  /** Ends the running step, joins the threads, frees everything. */
  close(): Promise<void>;
}
