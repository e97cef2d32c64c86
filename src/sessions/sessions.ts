// SPDX-License-Identifier: Apache-2.0
/**
 * Contexts between memory (the prefix cache) and disk (the store). A request that a stored session begins like
 * gets that back before its prompt is run; what requests named is saved when they ask for it; what is
 * evicted, and all that lies idle when the server stops, is saved by itself.
 */
import { createHash } from "node:crypto";
import { BLOCK_TOKENS, type Engine } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import { type Clock, SYSTEM_CLOCK } from "../scheduler/clock.ts";
import type { CachedContext, ContextCache } from "../scheduler/context_cache.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import { commonTokens } from "./chain.ts";
import { AUTOMATIC, requireId, requireOwnId, type SessionName } from "./id.ts";
import { Pins } from "./pins.ts";
import type { SessionControl, SessionFigures } from "../types.ts";
import type { SessionRecord, SessionStore } from "./store.ts";
import { type Held, Transfers } from "./transfers.ts";

/** So few tokens are run again as quickly as they are restored: they are not saved unless asked for. */
export const LEAST_SAVED_TOKENS = 512;
/** A context that lay idle for so long is saved when nothing runs; how often that is looked at. */
const IDLE_MS = 30_000;
const LOOK_MS = 5000;
/** This share of memory is free, or its loss costs nothing because the disk has it. */
const READY_SHARE = 1 / 4;
/** Requests beyond these don't wait for a restore; they run their prompts. */
const MOST_RECALLS = 8;

function falseIfMemory(error: unknown): false {
  if (error instanceof Failure && error.kind === "memory") return false;
  throw error;
}

export class Sessions implements SessionControl {
  readonly #engine: Engine;
  readonly #scheduler: Scheduler;
  readonly #cache: ContextCache;
  readonly #store: SessionStore;
  readonly #transfers: Transfers;
  readonly #log: (line: string) => void;
  readonly #pins = new Pins();
  /** Asked about when they lay idle or were about to be evicted: saved, or not worth it. */
  readonly #decided = new WeakSet<CachedContext>();
  #evicting = false;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #recalls = 0;

  constructor(
    engine: Engine,
    scheduler: Scheduler,
    store: SessionStore,
    clock: Clock = SYSTEM_CLOCK,
  ) {
    if (scheduler.cache === null) throw new RangeError("Sessions need the prefix cache.");
    this.#engine = engine;
    this.#scheduler = scheduler;
    this.#cache = scheduler.cache;
    this.#store = store;
    this.#transfers = new Transfers(engine, scheduler, scheduler.cache, store);
    this.#log = store.log;
    this.#clock = clock;
    this.#cache.keeper = (cached) => this.#evicts(cached);
    this.#saveWhenAtRest();
  }

  figures(): SessionFigures {
    return { count: this.#store.count, bytes: this.#store.bytes, ...this.#transfers.counts };
  }

  list(scope: string): SessionRecord[] {
    return this.#store.list(scope);
  }

  /** @throws {Failure} kind `not_found` */
  find(name: SessionName): SessionRecord {
    const record = this.#store.find({ ...name, id: requireId(name.id, "id") });
    if (record !== null) return record;
    throw new Failure("not_found", `There is no session "${name.id}".`);
  }

  /** A request is part of a session: what becomes of its prompt is saved under that name. */
  pin(name: SessionName, prompt: Int32Array): void {
    this.#pins.set({ ...name, id: requireOwnId(name.id, "sounder.session") }, prompt);
  }

  /**
   * Saves what the last request of a session left in memory.
   * @throws {Failure} `not_found` when no request named it, `conflict` while it runs, `storage`
   */
  async save(name: SessionName): Promise<SessionRecord> {
    requireOwnId(name.id, "id");
    const prompt = this.#pins.get(name);
    if (prompt === null) {
      const sentence =
        `No request named session "${name.id}": send "sounder": {"session": "${name.id}"}`;
      throw new Failure("not_found", `${sentence} with one, and save it when that has ended.`);
    }
    // It may be held because it is being saved already: then after that.
    const held = await this.#holdLatest(name.scope, prompt) ??
      await this.#transfers.inTurn(() => this.#holdLatest(name.scope, prompt));
    if (held !== null) return await this.#transfers.save(name, held);
    const record = this.#store.find(name);
    if (record !== null && this.#store.match(name.scope, prompt)?.record === record) return record;
    throw new Failure(
      "conflict",
      `Cannot save session "${name.id}": its request still runs, or its memory was needed since. ` +
        "Try again when the request has ended.",
    );
  }

  /** Brings a session into memory. @throws {Failure} `not_found`, `conflict`, `unavailable` */
  async load(name: SessionName): Promise<SessionRecord> {
    const record = this.find(name);
    if (record.problem !== null) throw new Failure("conflict", record.problem);
    const all = { record, tokens: record.usable, useful: record.usable };
    if (await this.#transfers.restore(all, () => true).catch(falseIfMemory)) return record;
    throw new Failure("unavailable", "Running requests need the memory that the session takes.", {
      retryAfterSeconds: 5,
    });
  }

  async delete(name: SessionName): Promise<void> {
    const record = this.find(name);
    this.#pins.delete(name);
    await this.#transfers.inTurn(() => this.#store.delete(record));
  }

  /** Brings back what a session has of a prompt, when memory has less. A failure only costs the time saved. */
  async recall(scope: string, prompt: Int32Array): Promise<void> {
    const match = this.#recalls < MOST_RECALLS ? this.#store.match(scope, prompt) : null;
    if (match === null || match.useful < BLOCK_TOKENS) return;
    this.#recalls++;
    const gains = () => match.useful - this.#inMemory(scope, prompt) >= BLOCK_TOKENS;
    try {
      await this.#transfers.restore(match, gains);
    } catch (error) {
      this.#log(`Session ${match.record.id} was not restored: ${(error as Error).message}`);
    } finally {
      this.#recalls--;
    }
  }

  /** Saves all that lies idle, most recently used first, for at most so long. */
  async saveAll(ms: number): Promise<void> {
    let ended = false;
    const timer = setTimeout(() => {
      ended = true;
      this.#engine.cancelTransfer();
    }, ms);
    try {
      const idle = await this.#scheduler.alone(() => this.#cache.idle());
      const now = Date.now();
      let saved = 0;
      for (const [i, cached] of idle.reverse().entries()) {
        if (ended) break;
        if (await this.#saveIdle(cached, now - i)) saved++;
      }
      if (saved > 0) this.#log(`Saved ${saved} ${saved === 1 ? "context" : "contexts"}.`);
      if (ended) this.#log("There was no time to save all contexts.");
    } finally {
      clearTimeout(timer);
    }
  }

  /** Saves a context unless it is not worth it. */
  async #saveIdle(cached: CachedContext, usedAt: number): Promise<boolean> {
    const name = this.#nameToSave(cached);
    if (name === null) return false;
    try {
      const held = await this.#scheduler.alone(() => this.#transfers.hold(cached));
      if (held !== null) await this.#transfers.save(name, held, usedAt);
      return held !== null;
    } catch (error) {
      this.#log(`A context was not saved: ${(error as Error).message}`);
      return false;
    }
  }

  /** Saves what may be lost: to eviction, or to a crash. */
  async #saveWhenAtRest(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#clock.sleep(LOOK_MS, signal);
      for (;;) {
        const cached = signal.aborted ? undefined : await this.#nextToSave().catch(() => undefined);
        if (cached === undefined) break;
        this.#decided.add(cached);
        await this.#saveIdle(cached, Date.now() - (this.#clock.now() - cached.lastUse));
      }
    }
  }

  /**
   * Of what may be worth saving: what would be evicted first if memory became short, also while requests run; if
   * nothing runs, what was used last of what has lain idle for a while.
   */
  #nextToSave(): Promise<CachedContext | undefined> {
    const { kvBlocks, maxContexts } = this.#engine.limits;
    return this.#scheduler.alone(() => {
      const undecided = (cached: CachedContext) => !this.#decided.has(cached);
      const endangered = this.#cache.evictedFor(READY_SHARE * kvBlocks, READY_SHARE * maxContexts);
      const first = endangered.find(undecided);
      if (first !== undefined) return first;
      if (this.#scheduler.running + this.#scheduler.waiting > 0) return undefined;
      const before = this.#clock.now() - IDLE_MS;
      return this.#cache.idle().findLast((cached) => cached.lastUse <= before && undecided(cached));
    });
  }

  /** Waits for what is being saved or restored. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#cache.keeper = null;
    await this.#transfers.inTurn(() => Promise.resolve());
    this.#store.close();
  }

  /** The context that was used last of those that begin with this prompt; its last token may not have run. */
  #holdLatest(scope: string, prompt: Int32Array): Promise<Held | null> {
    return this.#scheduler.alone(() => {
      const found = this.#cache.idle().findLast(({ origin, tokens }) =>
        origin.scope === scope && commonTokens(tokens, prompt) >= prompt.length - 1
      );
      return found === undefined ? null : this.#transfers.hold(found);
    });
  }

  /** Under what name a context is to be saved; null: not at all. */
  #nameToSave({ tokens, origin: { scope, provenance } }: CachedContext): SessionName | null {
    const id = this.#pins.find(scope, tokens);
    const stored = this.#store.match(scope, tokens, provenance);
    const missing = tokens.length - (stored?.useful ?? 0);
    if (id !== null) {
      return stored?.record.id === id && missing < BLOCK_TOKENS ? null : { scope, id };
    }
    if (missing < LEAST_SAVED_TOKENS) return null;
    const hash = createHash("sha256").update(provenance).update(
      new Uint8Array(tokens.slice().buffer),
    );
    return { scope, id: AUTOMATIC + hash.digest("hex").slice(0, 24) };
  }

  /**
   * A context is about to be evicted: it is saved first. One at a time, since what is held can't be evicted: false
   * where it is not saved and would have to wait.
   */
  #evicts(cached: CachedContext): boolean {
    if (this.#decided.has(cached)) return true;
    if (this.#evicting) return false;
    this.#decided.add(cached);
    const name = this.#nameToSave(cached);
    const held = name === null ? null : this.#transfers.hold(cached);
    if (held === null) return true;
    this.#evicting = true;
    this.#transfers.save(name!, held)
      .catch((error) => this.#log(`A context was not saved: ${error.message}`))
      .finally(() => this.#evicting = false);
    return true;
  }

  /** Most tokens of a prompt that lie ready. */
  #inMemory(scope: string, prompt: Int32Array): number {
    let most = 0;
    for (const { origin, tokens } of this.#cache.idle()) {
      if (origin.scope === scope) most = Math.max(most, commonTokens(tokens, prompt));
    }
    return most;
  }
}
