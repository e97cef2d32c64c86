// SPDX-License-Identifier: Apache-2.0
/**
 * Which KV blocks each context holds, as the engine has them: forks share the full blocks and copy the last
 * partial one. From it the ledger knows what is shared, and the cache what would become free.
 */
import { BLOCK_TOKENS, type ContextId } from "../engine/engine.ts";
import { blocksOfTokens } from "./memory.ts";

/** Who works with a context; nobody: it lies idle in the cache. */
export interface Owner {
  /** What it shares with others is counted once. */
  readonly sharesBlocks: boolean;
}

interface Block {
  contexts: number;
  /** How many of each owner's contexts hold it. */
  owners: Map<Owner, number>;
}

interface Holding {
  owner: Owner | null;
  blocks: Block[];
}

/** How many of its owners share it. */
function sharers({ owners }: Block): number {
  let count = 0;
  for (const owner of owners.keys()) if (owner.sharesBlocks) count++;
  return count;
}

export class BlockTable {
  readonly #holdings = new Map<ContextId, Holding>();
  #shared = 0;
  #idle = 0;
  #used = 0;

  /** Blocks that several owners hold, counted for each but the first: what their sum counts too often. */
  get shared(): number {
    return this.#shared;
  }

  /** Blocks that only idle contexts hold. */
  get idle(): number {
    return this.#idle;
  }

  /** Blocks that any context holds. */
  get used(): number {
    return this.#used;
  }

  /** A new context without blocks. */
  add(context: ContextId, owner: Owner | null): void {
    this.#holdings.set(context, { owner, blocks: [] });
  }

  /** A new context with the first tokens of another one. */
  fork(context: ContextId, source: ContextId, tokens: number, owner: Owner): void {
    const blocks = this.#blocks(source).slice(0, Math.floor(tokens / BLOCK_TOKENS));
    for (const block of blocks) this.#hold(block, owner);
    this.#holdings.set(context, { owner, blocks });
    this.resize(context, tokens);
  }

  /** The context has so many tokens now. */
  resize(context: ContextId, tokens: number): void {
    const { owner, blocks } = this.#holdings.get(context)!;
    const count = blocksOfTokens(tokens);
    for (const block of blocks.splice(count)) this.#drop(block, owner);
    while (blocks.length < count) {
      const block: Block = { contexts: 0, owners: new Map() };
      this.#hold(block, owner);
      blocks.push(block);
    }
  }

  /** Someone else works with it, or nobody any more. */
  own(context: ContextId, owner: Owner | null): void {
    const holding = this.#holdings.get(context)!;
    for (const block of holding.blocks) {
      this.#hold(block, owner);
      this.#drop(block, holding.owner);
    }
    holding.owner = owner;
  }

  remove(context: ContextId): void {
    const holding = this.#holdings.get(context);
    if (holding === undefined) return;
    this.#holdings.delete(context);
    for (const block of holding.blocks) this.#drop(block, holding.owner);
  }

  /** Blocks of a context. */
  count(context: ContextId): number {
    return this.#blocks(context).length;
  }

  /** How many of a context's first blocks an owner holds that shares. */
  sharedBy(context: ContextId, blocks: number): number {
    return this.#blocks(context).slice(0, blocks).filter((block) => sharers(block) > 0).length;
  }

  /** How many of its last blocks no other context holds. */
  ownTail(context: ContextId): number {
    const blocks = this.#blocks(context);
    const last = blocks.findLastIndex((block) => block.contexts > 1);
    return blocks.length - 1 - last;
  }

  #blocks(context: ContextId): Block[] {
    return this.#holdings.get(context)!.blocks;
  }

  #hold(block: Block, owner: Owner | null): void {
    this.#change(block, () => {
      block.contexts++;
      if (owner !== null) block.owners.set(owner, (block.owners.get(owner) ?? 0) + 1);
    });
  }

  #drop(block: Block, owner: Owner | null): void {
    this.#change(block, () => {
      block.contexts--;
      if (owner === null) return;
      const left = block.owners.get(owner)! - 1;
      if (left > 0) block.owners.set(owner, left);
      else block.owners.delete(owner);
    });
  }

  #change(block: Block, change: () => void): void {
    this.#count(block, -1);
    change();
    this.#count(block, 1);
  }

  #count(block: Block, sign: 1 | -1): void {
    this.#shared += sign * Math.max(0, sharers(block) - 1);
    if (block.contexts === 0) return;
    this.#used += sign;
    if (block.owners.size === 0) this.#idle += sign;
  }
}
