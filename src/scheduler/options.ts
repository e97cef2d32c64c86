// SPDX-License-Identifier: Apache-2.0
/** How a scheduler is set up, and what the owner of a job holds. */
import type { Observer } from "../observer.ts";
import type { Failure } from "../errors.ts";
import type { Clock } from "./clock.ts";
import { BLOCK_TOKENS, type EngineLimits } from "../engine/engine.ts";

/** How a server runs its jobs. */
export interface JobOptions {
  /** Answer tokens that each choice commits memory for beyond those it has (default 1024). */
  reservedTokens?: number;
  /**
   * Feed every token in the same way whatever else runs, so that the results of a deterministic engine are
   * equal to the bit: prompts in pieces of always the same tokens, since a row's last bits depend on the rows
   * that it is fed with, and generated tokens alone, again too (default: false).
   */
  deterministic?: boolean;
  /** Tokens of a piece: no more than always fit into a step (default: a KV block). */
  pieceTokens?: number;
}

/** A piece fits into a step, whoever decodes beside it. */
export function withPieces<T extends JobOptions>(options: T, limits: EngineLimits): T {
  const room = limits.maxStepTokens - limits.maxContexts;
  return { pieceTokens: Math.max(1, Math.min(BLOCK_TOKENS, room)), ...options };
}

/** Requests that may wait, unless the options say otherwise. */
export const MOST_WAITING = 64;

export interface SchedulerOptions extends JobOptions {
  /** Requests that may wait (default: {@linkcode MOST_WAITING}). */
  maxWaiting?: number;
  /** Prompt tokens that may wait in all (default: four contexts full). */
  maxWaitingTokens?: number;
  /** Keep the KV of what ended for requests that begin with the same tokens (default: true). */
  prefixCache?: boolean;
  /** Most milliseconds of a request, waiting included; 0: no limit (default). */
  timeoutMs?: number;
  /** Milliseconds that a step should take in which some decode and others run their prompts (default 50). */
  stepMs?: number;
  clock?: Clock;
  observer?: Pick<Observer, "step">;
  /** The engine's GPU failed for good: all jobs were ended with this failure, and so are those to come. */
  lost?: (failure: Failure) => void;
}

/** What the owner of a submitted job can do with it. */
export interface JobHandle {
  /** Ends it and frees what it holds; nothing more is delivered. Does nothing when it has ended. */
  cancel(): void;
  /** Its output is no longer stalled. */
  resume(): void;
}
