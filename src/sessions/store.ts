// SPDX-License-Identifier: Apache-2.0
/**
 * The sessions of a folder: what each holds, found by its first tokens; kept below a size. Where that is
 * passed, the server's own sessions go, least recently used first; those that clients named stay.
 */
import { BLOCK_TOKENS, type ContextId, type Engine } from "../engine/engine.ts";
import { EXACT, type Provenance } from "../engine/provenance.ts";
import { Failure } from "../errors.ts";
import { formatBytes } from "../model/memory.ts";
import { type Chain, chainOf } from "./chain.ts";
import type { SessionFolder } from "./folder.ts";
import { isAutomatic, keyOf, type SessionName } from "./id.ts";
import { noteText, readNote } from "./note.ts";

/** A session in the folder. */
export interface SessionRecord extends SessionName {
  bytes: number;
  /** Milliseconds since 1970. */
  savedAt: number;
  usedAt: number;
  /** Tokens that it holds, the first of them that are exact, and those that this engine can use. */
  tokens: number;
  exact: number;
  usable: number;
  provenance: Provenance;
  /** Why it cannot be used; null: it can. */
  problem: string | null;
}

interface Indexed extends SessionRecord {
  chain: Chain;
}

/** A session that begins as a prompt does. */
export interface SessionMatch {
  record: SessionRecord;
  /** What is worth restoring of it: all, or whole blocks. */
  tokens: number;
  /** How many of the prompt's tokens that has, as far as whoever asked may use them. */
  useful: number;
}

/** A context and what it holds. */
export interface SavedTokens {
  context: ContextId;
  tokens: Int32Array;
  provenance: Provenance;
}

/** How a store works. */
export interface StoreOptions {
  folder: SessionFolder;
  /** Most bytes of all sessions together. */
  limitBytes: number;
  engine: Pick<Engine, "saveContext" | "restoreContext" | "describeSaved">;
  /** Of the model: `identity.ts`. */
  identity: Uint8Array;
  /** `samplingText` of the engine. */
  sampling: string;
  log: (line: string) => void;
}

export class SessionStore {
  /** Where it says what its users should know. */
  readonly log: (line: string) => void;
  readonly #options: StoreOptions;
  readonly #folder: SessionFolder;
  readonly #records = new Map<string, Indexed>();
  /** By the hash of each of their blocks. */
  readonly #blocks = new Map<number, Set<Indexed>>();

  private constructor(options: StoreOptions) {
    this.#options = options;
    this.log = options.log;
    this.#folder = options.folder;
  }

  /** Reads the headers of all sessions of a folder. The store owns it and closes it. */
  static async open(options: StoreOptions): Promise<SessionStore> {
    const store = new SessionStore(options);
    for (const { scope, id, usedAt } of await store.#folder.files()) {
      const record = await store.#add({ scope, id }, usedAt);
      if (record.problem !== null) options.log(`Session ${id} is left alone: ${record.problem}`);
    }
    await store.#trim();
    return store;
  }

  /** Sessions of a scope, most recently used first. */
  list(scope: string): SessionRecord[] {
    return [...this.#records.values()].filter((record) => record.scope === scope)
      .sort((a, b) => b.usedAt - a.usedAt);
  }

  find(name: SessionName): SessionRecord | null {
    return this.#records.get(keyOf(name)) ?? null;
  }

  get count(): number {
    return this.#records.size;
  }

  /** Bytes of all sessions. */
  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.#records.values()) sum += bytes;
    return sum;
  }

  /** The session that has the most of a prompt that a request of this provenance may use. */
  match(scope: string, prompt: Int32Array, provenance: Provenance = EXACT): SessionMatch | null {
    let best: SessionMatch | null = null;
    const chain = chainOf(scope, prompt);
    for (let blocks = chain.length; blocks > 0; blocks--) {
      for (const record of this.#blocks.get(chain[blocks - 1]!) ?? []) {
        if (record.scope !== scope || record.chain[blocks - 1] !== chain[blocks - 1]) continue;
        const all = blocks === record.chain.length ? record.tokens : blocks * BLOCK_TOKENS;
        const tokens = Math.min(all, record.usable);
        const exact = record.provenance === provenance ? tokens : Math.min(tokens, record.exact);
        const useful = Math.min(exact, prompt.length);
        if (useful > (best?.useful ?? 0)) best = { record, tokens, useful };
      }
      if (best !== null && best.useful >= (blocks - 1) * BLOCK_TOKENS) break;
    }
    return best;
  }

  /**
   * Saves a context under a name, in the place of what had it.
   * @throws {Failure} kind `storage` when it cannot be written, or is more than the folder may hold
   */
  async save(name: SessionName, saved: SavedTokens, usedAt = Date.now()): Promise<SessionRecord> {
    const { engine, sampling, limitBytes } = this.#options;
    const { context, tokens, provenance } = saved;
    const note = noteText({ provenance, sampling, savedAt: Date.now() });
    await engine.saveContext(context, tokens.length, this.#place(name), note);
    await this.#folder.touch(name, usedAt).catch(() => {});
    const record = await this.#add(name, usedAt);
    await this.#dropCovered(record);
    await this.#trim(isAutomatic(name.id) ? null : record);
    if (this.bytes <= limitBytes) return record;
    await this.delete(name);
    throw new Failure(
      "storage",
      `Cannot keep session ${name.id} of ${formatBytes(record.bytes)}: all sessions together may ` +
        `take ${
          formatBytes(limitBytes)
        }. Delete some, or start the server with a larger --sessions-size.`,
    );
  }

  /** @throws {Failure} kind `storage` when its file cannot be used */
  async restore(record: SessionRecord, tokens: number): Promise<SavedTokens> {
    const { engine } = this.#options;
    const place = this.#place(record);
    const saved = await engine.describeSaved(place);
    const context = await engine.restoreContext(place, tokens);
    const length = tokens >= saved.length
      ? saved.length
      : Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
    await this.touch(record);
    return { context, tokens: saved.tokens.slice(0, length), provenance: record.provenance };
  }

  async touch(record: SessionRecord): Promise<void> {
    record.usedAt = Date.now();
    await this.#folder.touch(record, record.usedAt).catch(() => {});
  }

  /** A session that turned out to be useless; it stays for its owner to delete. */
  markUnusable(record: SessionRecord, problem: string): void {
    const indexed = this.#records.get(keyOf(record));
    if (indexed === undefined) return;
    this.#unlink(indexed);
    indexed.problem = problem;
    indexed.usable = 0;
  }

  async delete(name: SessionName): Promise<void> {
    const record = this.#records.get(keyOf(name));
    await this.#folder.remove(name);
    if (record === undefined) return;
    this.#unlink(record);
    this.#records.delete(keyOf(name));
  }

  close(): void {
    this.#folder.close();
  }

  #place(name: SessionName) {
    return { path: this.#folder.pathOf(name), identity: this.#options.identity };
  }

  /** Reads a file's header into the index. */
  async #add(name: SessionName, usedAt: number): Promise<Indexed> {
    const old = this.#records.get(keyOf(name));
    if (old !== undefined) this.#unlink(old);
    const record = await this.#read(name, usedAt);
    this.#records.set(keyOf(name), record);
    for (const hash of record.chain) {
      const sharers = this.#blocks.get(hash);
      if (sharers === undefined) this.#blocks.set(hash, new Set([record]));
      else sharers.add(record);
    }
    return record;
  }

  async #read({ scope, id }: SessionName, usedAt: number): Promise<Indexed> {
    const name = { scope, id };
    try {
      const saved = await this.#options.engine.describeSaved(this.#place(name));
      const { provenance, sampling, savedAt } = readNote(saved.note);
      const { length, exact, bytes } = saved;
      const all = exact === length || sampling === this.#options.sampling;
      const wholeBlocks = (tokens: number) => Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
      // The engine's longest context may be shorter than when it was saved.
      const fits = saved.tokens.length < length ? wholeBlocks(saved.tokens.length) : length;
      const usable = Math.min(fits, all ? length : wholeBlocks(exact));
      const chain = chainOf(scope, saved.tokens);
      const figures = { bytes, savedAt, usedAt, tokens: length, exact, usable, provenance };
      return { ...name, ...figures, problem: null, chain };
    } catch (error) {
      const { bytes } = await this.#folder.stat(name).catch(() => ({ bytes: 0 }));
      const problem = error instanceof Error ? error.message : String(error);
      const nothing = { tokens: 0, exact: 0, usable: 0, provenance: EXACT };
      const figures = { bytes, savedAt: usedAt, usedAt, ...nothing };
      return { ...name, ...figures, problem, chain: new Float64Array(0) };
    }
  }

  #unlink(record: Indexed): void {
    for (const hash of record.chain) {
      const sharers = this.#blocks.get(hash);
      sharers?.delete(record);
      if (sharers?.size === 0) this.#blocks.delete(hash);
    }
    record.chain = new Float64Array(0);
  }

  /** Deletes the server's own sessions that a new one has all whole blocks of, good for the same requests. */
  async #dropCovered({ scope, id, chain, provenance, exact }: Indexed): Promise<void> {
    const covered = [...this.#records.values()].filter((other) => {
      const blocks = other.chain.length;
      return other.scope === scope && other.id !== id && isAutomatic(other.id) && blocks > 0 &&
        other.chain[blocks - 1] === chain[blocks - 1] &&
        (other.provenance === provenance || exact >= blocks * BLOCK_TOKENS);
    });
    for (const other of covered) await this.delete(other);
  }

  /** Deletes the server's own sessions until the folder is within its size; `except` stays. */
  async #trim(except: SessionRecord | null = null): Promise<void> {
    const own = [...this.#records.values()].filter((record) =>
      isAutomatic(record.id) && record !== except
    );
    own.sort((a, b) => a.usedAt - b.usedAt);
    for (const record of own) {
      if (this.bytes <= this.#options.limitBytes) return;
      await this.delete(record);
    }
  }
}
