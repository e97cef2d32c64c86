// SPDX-License-Identifier: Apache-2.0
/**
 * What sessions (contexts on disk) see of the prefix cache. Except for `figures`, call it within
 * `Scheduler.alone`, which runs between two steps; what it gives back may be used and let go at any time:
 *
 * - `idle()` lists what could be saved: tokens, provenance, scope, last use, and the engine's context id.
 * - `hold(cached)` keeps one from being evicted until the function that it returns is called. Others may fork
 *   it meanwhile. What is held counts as used; null: requests need that memory, so it cannot be held.
 * - `keeper` is asked, between steps, about a context right before its end is evicted; it may `hold` it, or say
 *   that something would be lost: then others go first.
 * - `evictedFor(blocks, contexts)` lists what would go if so much more were needed, in that order.
 * - `reserve(blocks)` evicts until a restore finds so many blocks and a context free, and keeps them free until
 *   the function that it returns is called, after the restore; null: requests need that memory.
 * - `insert(context, …)` hands a restored context over; the cache frees it from then on.
 */
import type { ContextId } from "../engine/engine.ts";
import type { Provenance } from "../engine/provenance.ts";

/** KV that lies idle. */
export interface CachedContext {
  readonly context: ContextId;
  readonly origin: Origin;
  /** All that it holds. */
  readonly tokens: Int32Array;
  /** When it was used last, on the scheduler's clock. */
  readonly lastUse: number;
}

/** Where KV comes from. */
export interface Origin {
  /** Who may use it: requests with the same scope. */
  scope: string;
  provenance: Provenance;
}

/** Figures of the cache; counts are since the start. */
export interface CacheFigures {
  /** Contexts that lie idle, and blocks that only they hold. */
  contexts: number;
  blocks: number;
  /** Requests that looked for their prompt, and those that found a part of it. */
  lookups: number;
  hits: number;
  /** Prompt tokens of all of them, and those of them that were there. */
  promptTokens: number;
  hitTokens: number;
  /** Blocks that were evicted. */
  evictedBlocks: number;
}

/** What sessions see of the cache. */
export interface ContextCache {
  /** Asked before a context loses blocks; false: they would be lost. */
  keeper: ((cached: CachedContext) => boolean) | null;
  /** Least recently used first. */
  idle(): CachedContext[];
  evictedFor(blocks: number, contexts: number): CachedContext[];
  hold(cached: CachedContext): (() => void) | null;
  reserve(blocks: number): (() => void) | null;
  insert(context: ContextId, origin: Origin, tokens: Int32Array): void;
  figures(): CacheFigures;
}
