// SPDX-License-Identifier: Apache-2.0
/**
 * Moves contexts between the prefix cache and the store. Whatever is moved is held or reserved in the cache for so
 * long, so that requests neither lose it nor take its memory; the engine does one transfer at a time.
 */
import type { Engine } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import { blocksOfTokens } from "../scheduler/memory.ts";
import type { CachedContext, ContextCache } from "../scheduler/context_cache.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import { keyOf, type SessionName } from "./id.ts";
import type { SavedTokens, SessionMatch, SessionRecord, SessionStore } from "./store.ts";

/** A context that stays in memory until it is let go. */
export interface Held {
  cached: CachedContext;
  letGo: () => void;
}

export class Transfers {
  readonly counts = { saves: 0, restores: 0, restoredTokens: 0, failures: 0 };
  readonly #engine: Engine;
  readonly #scheduler: Scheduler;
  readonly #cache: ContextCache;
  readonly #store: SessionStore;
  readonly #restoring = new Map<string, Promise<unknown>>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(engine: Engine, scheduler: Scheduler, cache: ContextCache, store: SessionStore) {
    this.#engine = engine;
    this.#scheduler = scheduler;
    this.#cache = cache;
    this.#store = store;
  }

  /** Runs something after all that was asked for before. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Between two steps only; null: requests need its memory. */
  hold(cached: CachedContext): Held | null {
    const letGo = this.#cache.hold(cached);
    return letGo === null ? null : { cached, letGo };
  }

  /** Saves a held context and lets it go. */
  async save(name: SessionName, { cached, letGo }: Held, usedAt?: number): Promise<SessionRecord> {
    const { context, tokens, origin: { provenance } } = cached;
    try {
      const saved = { context, tokens, provenance };
      const record = await this.inTurn(() => this.#store.save(name, saved, usedAt));
      this.counts.saves++;
      return record;
    } catch (error) {
      this.counts.failures++;
      throw error;
    } finally {
      letGo();
    }
  }

  /**
   * Brings a session into the cache if that is still `wanted` when its turn comes. Those that want the same one
   * wait for each other. False: it isn't wanted, or has no room.
   * @throws {Failure} kind `conflict` when its file cannot be used
   */
  async restore(match: SessionMatch, wanted: () => boolean): Promise<boolean> {
    const key = keyOf(match.record);
    while (this.#restoring.has(key)) await this.#restoring.get(key);
    const work = this.#restore(match, wanted);
    this.#restoring.set(key, work.catch(() => {}));
    try {
      return await work;
    } finally {
      this.#restoring.delete(key);
    }
  }

  async #restore({ record, tokens }: SessionMatch, wanted: () => boolean): Promise<boolean> {
    const letGo = await this.#scheduler.alone(() =>
      wanted() ? this.#cache.reserve(blocksOfTokens(tokens)) : null
    );
    if (letGo === null) return false;
    try {
      const saved = await this.inTurn(() => this.#read(record, tokens));
      const { scope } = record;
      await this.#scheduler.alone(() => {
        letGo();
        this.#cache.insert(saved.context, { scope, provenance: saved.provenance }, saved.tokens);
      }).catch((error) => {
        this.#engine.freeContext(saved.context);
        throw error;
      });
      return true;
    } finally {
      letGo();
    }
  }

  async #read(record: SessionRecord, tokens: number): Promise<SavedTokens> {
    try {
      const saved = await this.#store.restore(record, tokens);
      this.counts.restores++;
      this.counts.restoredTokens += saved.tokens.length;
      return saved;
    } catch (error) {
      this.counts.failures++;
      if (!(error instanceof Failure) || error.kind !== "storage") throw error;
      this.#store.markUnusable(record, error.message);
      throw new Failure("conflict", error.message, { cause: error });
    }
  }
}
