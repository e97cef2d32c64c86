// SPDX-License-Identifier: Apache-2.0
/**
 * The memory formula of requests. A job commits the blocks of its prompt and of min(max_tokens, 1024)
 * tokens a choice before it runs, and a block more whenever it outgrows them. What is committed, with what
 * several jobs hold together counted once, never exceeds the pool, and no job holds more than it committed:
 * so the engine cannot run out of blocks once the idle contexts of the cache are evicted.
 */
import { BLOCK_TOKENS } from "../engine/engine.ts";

/** Answer tokens that a choice commits blocks for beyond those it has, unless told otherwise. */
export const RESERVED_TOKENS = 1024;

/** Blocks of one context. */
export function blocksOfTokens(tokens: number): number {
  return Math.ceil(tokens / BLOCK_TOKENS);
}

/**
 * Blocks of contexts with these lengths that share the full blocks of a prompt without its last token.
 * `shares` is false where each counts the prompt as its own.
 */
export function blocksOfForks(
  promptTokens: number,
  lengths: readonly number[],
  shares = true,
): number {
  const shared = shares && lengths.length > 1 ? Math.floor((promptTokens - 1) / BLOCK_TOKENS) : 0;
  let blocks = shared;
  for (const length of lengths) blocks += blocksOfTokens(length) - shared;
  return blocks;
}

/** What can commit memory. */
export interface Holder {
  blocks: number;
  contexts: number;
}

/** Who has committed how much. */
export class Ledger {
  readonly blockCapacity: number;
  readonly contextCapacity: number;
  readonly #shared: () => number;
  #blocks = 0;
  #contexts = 0;

  /** `shared`: blocks that are committed by several holders at once, counted for each but the first. */
  constructor(blockCapacity: number, contextCapacity: number, shared: () => number = () => 0) {
    this.blockCapacity = blockCapacity;
    this.contextCapacity = contextCapacity;
    this.#shared = shared;
  }

  get freeBlocks(): number {
    return this.blockCapacity - this.#blocks + this.#shared();
  }

  /** Whether the holder could have this instead of what it has. */
  fits(holder: Holder, blocks: number, contexts: number): boolean {
    if (blocks <= holder.blocks && contexts <= holder.contexts) return true;
    return blocks - holder.blocks <= this.freeBlocks &&
      contexts - holder.contexts <= this.contextCapacity - this.#contexts;
  }

  /** Gives the holder this instead of what it has. @throws {RangeError} when it doesn't fit: a bug. */
  set(holder: Holder, blocks: number, contexts: number): void {
    if (!this.fits(holder, blocks, contexts)) {
      throw new RangeError(`Cannot commit ${blocks} blocks: ${this.freeBlocks} are free.`);
    }
    this.#blocks += blocks - holder.blocks;
    this.#contexts += contexts - holder.contexts;
    holder.blocks = blocks;
    holder.contexts = contexts;
  }
}
