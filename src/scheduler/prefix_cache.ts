// SPDX-License-Identifier: Apache-2.0
/**
 * The KV of sequences that ended, kept until its memory is needed. A request that begins with the same tokens
 * forks it and runs only the rest. What lies idle counts as free memory: whoever needs blocks evicts, least
 * recently used first and from the end of a context, so that what many share goes last.
 */
import { BLOCK_TOKENS, type ContextId } from "../engine/engine.ts";
import { type Provenance, shareable } from "../engine/provenance.ts";
import type { Clock } from "./clock.ts";
import type { CachedContext, CacheFigures, ContextCache, Origin } from "./context_cache.ts";
import type { Contexts } from "./contexts.ts";
import type { Sequence } from "./job.ts";
import type { Ledger } from "./memory.ts";
import { RadixTree } from "./radix_tree.ts";

/** Shorter ones are not worth a context. */
export const LEAST_CACHED_TOKENS = 16;

/** KV in the tree: idle, or of a sequence that is running its prompt or has run it. */
export class Entry implements CachedContext {
  lastUse = 0;
  held = false;

  constructor(
    readonly context: ContextId,
    readonly origin: Origin,
    /** Of a running sequence: its prompt, which it has as far as it got. */
    public tokens: Int32Array,
    /** First tokens that exact attention made. */
    public exact: number,
    readonly sequence: Sequence | null,
  ) {}

  /** First tokens that a sequence of this provenance may take over: now, or when the prompt has run. */
  offers(wanted: Provenance, when: "now" | "later"): number {
    const { sequence, tokens, exact, origin: { provenance } } = this;
    const length = sequence === null || when === "later"
      ? tokens.length
      : Math.min(sequence.length, tokens.length);
    return shareable({ provenance, length, exact: Math.min(exact, length) }, wanted);
  }

  /** Whether whatever another one offers is offered by this one, which has all its tokens, too. */
  replaces(other: Entry): boolean {
    const { length } = other.tokens;
    const own = Math.min(length, this.offers(other.origin.provenance, "now"));
    return own === length && Math.min(this.exact, length) >= other.exact;
  }
}

export class PrefixCache implements ContextCache {
  keeper: ((cached: CachedContext) => boolean) | null = null;
  readonly #contexts: Contexts;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #freed: () => void;
  readonly #trees = new Map<string, RadixTree<Entry>>();
  /** Least recently used first. */
  readonly #idle = new Set<Entry>();
  /** Blocks that restores are about to take. */
  #reserved = 0;
  readonly #counts = { lookups: 0, hits: 0, promptTokens: 0, hitTokens: 0, evictedBlocks: 0 };

  /** `freed`: something is free that was held. */
  constructor(contexts: Contexts, ledger: Ledger, clock: Clock, freed: () => void) {
    this.#freed = freed;
    this.#contexts = contexts;
    this.#ledger = ledger;
    this.#clock = clock;
  }

  idle(): Entry[] {
    return [...this.#idle];
  }

  figures(): CacheFigures {
    return { contexts: this.#idle.size, blocks: this.#contexts.blocks.idle, ...this.#counts };
  }

  /** A request with so many prompt tokens found so many of them. */
  looked(promptTokens: number, hitTokens: number): void {
    this.#counts.lookups++;
    this.#counts.promptTokens += promptTokens;
    this.#counts.hitTokens += hitTokens;
    if (hitTokens > 0) this.#counts.hits++;
  }

  /** Everything in a scope that begins as these tokens do. */
  matches(scope: string, tokens: Int32Array) {
    return this.#trees.get(scope)?.matches(tokens) ?? [];
  }

  /** A sequence runs its prompt in this context: others may wait for it, and fork it. */
  announce(context: ContextId, origin: Origin, sequence: Sequence): Entry {
    const { job } = sequence;
    const { prompt } = job.spec;
    const tokens = job.deterministic ? prompt.subarray(0, job.together) : prompt;
    const entry = new Entry(context, origin, tokens, tokens.length, sequence);
    this.#plant(entry);
    return entry;
  }

  withdraw(entry: Entry): void {
    this.#uproot(entry);
    this.#idle.delete(entry);
  }

  /** Someone uses it now. */
  touch(entry: Entry): void {
    entry.lastUse = this.#clock.now();
    if (this.#idle.delete(entry)) this.#idle.add(entry);
  }

  insert(context: ContextId, origin: Origin, tokens: Int32Array): void {
    this.#contexts.adopt(context);
    this.keep(context, origin, tokens);
  }

  /** Keeps an idle context with these tokens, unless another one has them all. */
  keep(context: ContextId, origin: Origin, tokens: Int32Array): void {
    const entry = new Entry(context, origin, tokens, this.#contexts.exact(context), null);
    const others = this.matches(origin.scope, tokens);
    const better = others.find(({ value, common }) =>
      common === tokens.length && value.replaces(entry)
    );
    if (tokens.length < LEAST_CACHED_TOKENS || better !== undefined) {
      this.#contexts.free(context);
      if (better !== undefined) this.touch(better.value);
      return;
    }
    for (const { value, common } of others) {
      const worse = value.sequence === null && !value.held && common === value.tokens.length;
      if (worse && entry.replaces(value)) this.#drop(value);
    }
    this.#plant(entry);
    this.#idle.add(entry);
    this.touch(entry);
  }

  hold(cached: CachedContext): (() => void) | null {
    const entry = this.idle().find((each) => each === cached);
    if (entry === undefined || entry.held) return null;
    const letGo = this.#commit(
      this.#contexts.blocks.count(entry.context),
      () => entry.held = false,
    );
    if (letGo !== null) entry.held = true;
    return letGo;
  }

  reserve(blocks: number): (() => void) | null {
    const letGo = this.#commit(blocks, () => this.#reserved -= blocks);
    if (letGo === null) return null;
    this.#reserved += blocks;
    this.makeRoom(0);
    return letGo;
  }

  /** Counts memory as used until the function is called that it returns; null: it is needed. */
  #commit(blocks: number, letGo: () => void): (() => void) | null {
    const holder = { blocks: 0, contexts: 0 };
    if (!this.#ledger.fits(holder, blocks, 1)) return null;
    this.#ledger.set(holder, blocks, 1);
    return () => {
      if (holder.contexts === 0) return;
      this.#ledger.set(holder, 0, 0);
      letGo();
      this.#freed();
    };
  }

  /** Gives an idle context away, cut to so many tokens: a multiple of the block size. */
  take(entry: Entry, tokens: number): ContextId {
    this.withdraw(entry);
    this.#contexts.truncate(entry.context, tokens);
    return entry.context;
  }

  /** Evicts until the engine has so many blocks and contexts left beside the reserved ones. False: it cannot. */
  makeRoom(blocks: number, contexts = 1, except: Entry | null = null): boolean {
    for (;;) {
      const { left } = this.#contexts;
      const missing = blocks + this.#reserved - left.blocks;
      if (missing <= 0 && contexts <= left.contexts) return true;
      const victim = this.#victim(except);
      if (victim === undefined) return false;
      if (contexts > left.contexts) this.#drop(victim);
      else this.#trim(victim, missing);
    }
  }

  evictedFor(blocks: number, contexts: number): Entry[] {
    const { left } = this.#contexts;
    let missing = blocks + this.#reserved - left.blocks;
    const evicted: Entry[] = [];
    for (const entry of this.#idle) {
      if (missing <= 0 && left.contexts + evicted.length >= contexts) break;
      if (entry.held) continue;
      evicted.push(entry);
      missing -= this.#contexts.blocks.ownTail(entry.context);
    }
    return evicted;
  }

  /** Frees everything that is not held. */
  clear(): void {
    for (const entry of this.idle()) if (!entry.held) this.#drop(entry);
  }

  /** Frees memory of `lsh` tables. False: nothing idle has any. */
  clearTables(): boolean {
    const having = this.idle().filter(({ held, context }) =>
      !held && this.#contexts.hasTables(context)
    );
    for (const entry of having) this.#drop(entry);
    return having.length > 0;
  }

  /** The one that was used longest ago, of those that may be evicted; rather one with which nothing is lost. */
  #victim(except: Entry | null): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.#idle) {
      if (entry === except || entry.held) continue;
      const lossless = this.keeper?.(entry) ?? true;
      if (entry.held || !this.#idle.has(entry)) continue;
      if (lossless) return entry;
      first ??= entry;
    }
    return first;
  }

  /** Frees this many of its last blocks; all of it when that is not enough, or nothing useful would be left. */
  #trim(entry: Entry, blocks: number): void {
    const own = this.#contexts.blocks.ownTail(entry.context);
    const left = this.#contexts.blocks.count(entry.context) - blocks;
    if (own < blocks || left <= 0) return this.#drop(entry);
    this.#uproot(entry);
    this.#contexts.truncate(entry.context, left * BLOCK_TOKENS);
    this.#counts.evictedBlocks += blocks;
    entry.tokens = entry.tokens.subarray(0, left * BLOCK_TOKENS);
    entry.exact = Math.min(entry.exact, entry.tokens.length);
    this.#plant(entry);
  }

  #drop(entry: Entry): void {
    this.#counts.evictedBlocks += this.#contexts.blocks.ownTail(entry.context);
    this.withdraw(entry);
    this.#contexts.free(entry.context);
  }

  #plant(entry: Entry): void {
    const { scope } = entry.origin;
    let tree = this.#trees.get(scope);
    if (tree === undefined) this.#trees.set(scope, tree = new RadixTree());
    tree.insert(entry.tokens, entry);
  }

  #uproot(entry: Entry): void {
    const { scope } = entry.origin;
    const tree = this.#trees.get(scope);
    tree?.remove(entry);
    if (tree?.size === 0) this.#trees.delete(scope);
  }
}
