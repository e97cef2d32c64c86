// SPDX-License-Identifier: Apache-2.0
/** The nouns that routes and the generation loop share. Routes see these and {@linkcode Service}. */
import type { AttentionRequest } from "./engine/attention.ts";
import type { FormatRequest } from "./constraint/compiler.ts";
import type { CallRequest } from "./tools/compile_calls.ts";
import type { DialectName } from "./tools/dialect.ts";
import type { SamplingParams, Strategy, TokenLogprob } from "./engine/engine.ts";
import type { Priority } from "./scheduler/priority.ts";
import type { CacheFigures } from "./scheduler/context_cache.ts";
import type { ChatMessage, ChatOptions, TokenizerInfo } from "./tokenizer/tokenizer.ts";

/** One prompt and what to do with it. A request with several prompts is several of these. */
export interface GenerationRequest {
  /** For logs; the same as in the response. */
  id: string;
  prompt: Int32Array;
  /** Choices to generate from the prompt. */
  n: number;
  sampling: SamplingParams;
  /** What the answer must be; null: anything. */
  format?: FormatRequest | null;
  /** Tools that the answer may call; null: none. */
  calls?: CallRequest | null;
  /** Most tokens to generate for a choice; null: as many as the context holds. 0 only with `echo`. */
  maxTokens: number | null;
  /** Least tokens before an end token or stop string may end the choice. */
  minTokens: number;
  /** Texts that end a choice; they are not part of its text. */
  stop: readonly string[];
  /** Tokens that end a choice besides the model's own end tokens. */
  stopTokens: readonly number[];
  /** Go on after end tokens. */
  ignoreEos: boolean;
  /** Keep special tokens out of the text. */
  skipSpecialTokens: boolean;
  /** The text goes on where the prompt's ends (completions); otherwise it is an answer of its own (chat). */
  continuesPrompt: boolean;
  /** null: no log-probabilities; otherwise how many alternatives to report for a token. */
  logprobs: number | null;
  /** Report the prompt's log-probabilities too, with so many alternatives a token; null: don't. */
  scorePrompt: number | null;
  /** Report the mean of the prompt's hidden states. */
  embed?: boolean;
  /** How generated tokens attend; the prompt's attend exactly. */
  attention: AttentionRequest;
  /** Only requests of the same scope may share KV: otherwise timing would tell what others asked. */
  cacheScope: string;
  /** Who goes first where there is not enough for all. */
  priority: Priority;
  /** Seconds after which it fails, waiting included; null: as long as the server allows. */
  timeoutSeconds: number | null;
  /** Tell how far the prompt has run. */
  progress?: boolean;
  /** The session that it is part of; null: none. */
  session: string | null;
}

/** Why a choice ended. */
export type FinishReason = "stop" | "length";

/** A token that was generated (or given, for a scored prompt). */
export interface TokenInfo {
  token: number;
  /** Its own bytes and their text (a cut character is U+FFFD in the text). */
  bytes: Uint8Array;
  text: string;
  /** null for the first token of a scored prompt, which nothing predicts. */
  logprob: number | null;
  alternatives: (TokenLogprob & { bytes: Uint8Array; text: string })[];
}

/** Something that happened to a request. */
export type GenerationEvent =
  /** So many of the prompt's tokens have run, or were cached; only with `progress`, before any text. */
  | { type: "progress"; processed: number; cached: number; total: number; ms: number }
  /** The scored prompt, before any text; only with `scorePrompt`. */
  | { type: "prompt"; tokens: TokenInfo[] }
  /** Text of a choice; `tokens` only with `logprobs`. Text held back for a stop string comes later. */
  | { type: "text"; choice: number; text: string; tokens: TokenInfo[] }
  | { type: "finish"; choice: number; reason: FinishReason; stopString: string | null }
  /** Always the last event. With `embed`: the mean of the prompt's hidden states after the final norm. */
  | { type: "done"; usage: Usage; embedding?: Float32Array };

/** Sums over the generated tokens that sampled. */
export interface SampledUsage {
  tokens: number;
  /** Rows that a KV head read, and those that it had to choose from. */
  rowsRead: number;
  rowsTotal: number;
  /** 1 / effective samples. */
  inverseSamples: number;
  /** Squared relative standard error. */
  squaredError: number;
  /** Tokens that were verified, and their relative errors. */
  verified: number;
  verifyError: number;
}

/** Tokens counted. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
  /** Prompt tokens whose KV was there already. */
  cachedTokens: number;
  /** How generated tokens attended. */
  attention: Strategy;
  keysRead: number;
  keysTotal: number;
  sampled: SampledUsage;
}

/** An admitted request. Iterate its events; leaving the loop early cancels it. */
export interface Generation extends AsyncIterable<GenerationEvent> {
  /** What was counted so far; all of it once it has ended, however that came. */
  readonly usage: Readonly<Usage>;
  /** Milliseconds from its admission to its first token; null before that. */
  readonly firstTokenMs: number | null;
  /** Ends it now and frees what it holds. Does nothing when it has ended. */
  cancel(): void;
}

/** The model as clients see it. */
export interface ModelInfo {
  /** The name in requests. */
  id: string;
  /** Unix seconds of the load. */
  created: number;
  /** Longest prompt and answer together that really fits. */
  contextTokens: number;
  /** Requests that may run and wait at once. */
  mostRequests: number;
  hasChatTemplate: boolean;
  /** How it calls tools. */
  toolDialect: DialectName;
  vocabulary: number;
  /** Width of a hidden state. */
  hidden: number;
}

/** What the server is doing. */
export interface ServiceStatus {
  state: "loading" | "ready" | "draining" | "failed";
  /** While loading: share done, 0 to 1. */
  progress: number;
  /** When failed: why. */
  reason: string | null;
  running: number;
  waiting: number;
  kvBlocks: number;
  /** With those that only the prefix cache holds. */
  kvBlocksFree: number;
  /** Live ones, with those of the prefix cache, and the most there can be. */
  contexts: number;
  maxContexts: number;
  /** The prefix cache; null when it is switched off, or nothing is loaded. */
  cache: CacheFigures | null;
  /** Sessions on disk; null: none are kept. */
  sessions: SessionFigures | null;
  /** What verification found; null when nothing is verified. */
  verify: VerifyTotals | null;
}

/** Decode tokens that were computed exactly too, and the relative error of their attention. */
export interface VerifyTotals {
  tokens: number;
  /** null before the first token. */
  meanError: number | null;
  largestError: number | null;
}

/** What is on disk now, and what happened since the start. */
export interface SessionFigures {
  count: number;
  bytes: number;
  saves: number;
  restores: number;
  restoredTokens: number;
  /** Saves and restores that failed. */
  failures: number;
}

/** A context on disk. */
export interface SessionInfo {
  id: string;
  tokens: number;
  bytes: number;
  /** Milliseconds since 1970. */
  savedAt: number;
  usedAt: number;
  /** Why it cannot be used; null: it can. */
  problem: string | null;
}

/** The sessions of a server; each belongs to the scope of its requests' cache. */
export interface SessionControl {
  list(scope: string): SessionInfo[];
  /** @throws {Failure} kind `not_found`; so do the others */
  find(name: { scope: string; id: string }): SessionInfo;
  /** Saves what the last request that named it left in memory. */
  save(name: { scope: string; id: string }): Promise<SessionInfo>;
  /** Brings it into memory. */
  load(name: { scope: string; id: string }): Promise<SessionInfo>;
  delete(name: { scope: string; id: string }): Promise<void>;
}

/**
 * Everything the routes need. All methods but `status` throw a {@linkcode Failure} of kind
 * `unavailable` until the model is loaded.
 */
export interface Service {
  status(): ServiceStatus;
  model(): ModelInfo;
  /**
   * Admits a request or throws: {@linkcode Failure} of kind `context_length`, `too_many_requests` or
   * `invalid`. Synchronous, so that a route can answer with a real status before it sends headers.
   */
  generate(request: GenerationRequest): Generation;
  /** Brings KV that a session has of a prompt back into memory, before the prompt is given to `generate`. */
  recall(cacheScope: string, prompt: Int32Array): Promise<void>;
  /** Throws a {@linkcode Failure} of kind `not_found` when the server keeps no sessions. */
  sessions(): SessionControl;
  encodeChat(messages: readonly ChatMessage[], options?: ChatOptions): Promise<Int32Array>;
  encodeText(
    text: string,
    options?: { addSpecial?: boolean; parseSpecial?: boolean },
  ): Promise<Int32Array>;
  decode(tokens: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  tokenizerInfo(): TokenizerInfo;
  /** Text of single tokens, for `/tokenize`. */
  tokenBytes(token: number): Uint8Array;
}
