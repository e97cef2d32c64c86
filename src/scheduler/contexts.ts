// SPDX-License-Identifier: Apache-2.0
/**
 * The engine's contexts: who works with which, what blocks they hold, and the rule that those in the running
 * step cannot be changed until it ended. Nothing else of the scheduler makes, forks or frees a context.
 */
import type { ContextId, Engine } from "../engine/engine.ts";
import { type Provenance, shareable } from "../engine/provenance.ts";
import { Failure } from "../errors.ts";
import { BlockTable, type Owner } from "./block_table.ts";

/** A context to fork, and where its KV comes from. */
export interface Source {
  context: ContextId;
  provenance: Provenance;
}

export class Contexts {
  readonly blocks = new BlockTable();
  readonly #engine: Engine;
  #busy = false;
  readonly #running = new Set<ContextId>();
  readonly #doomed = new Map<ContextId, (context: ContextId) => void>();
  /** Those that hold memory of `lsh` tables, made for them or for what they were forked from. */
  readonly #withTables = new Set<ContextId>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** The engine is at work: contexts may be given up, and nothing else may happen to them. */
  get busy(): boolean {
    return this.#busy;
  }

  /**
   * Blocks and contexts that the engine has left. Those of a context that is being restored are not among its
   * own yet: they are the reserved ones.
   */
  get left(): { blocks: number; contexts: number } {
    const { limits } = this.#engine;
    return {
      blocks: limits.kvBlocks - this.blocks.used,
      contexts: limits.maxContexts - this.#engine.usage().contexts,
    };
  }

  create(owner: Owner): ContextId {
    const context = this.#engine.createContext();
    this.blocks.add(context, owner);
    if (!owner.sharesBlocks) this.#withTables.add(context);
    return context;
  }

  /**
   * A context with the first tokens of another one, for a sequence of the wanted provenance.
   * @throws {Failure} kind `engine` when it may not have all of them: KV that another one sampled
   */
  fork({ context, provenance }: Source, tokens: number, wanted: Provenance, owner: Owner) {
    const holding = { provenance, length: this.length(context), exact: this.exact(context) };
    const most = shareable(holding, wanted);
    if (most < tokens) {
      throw new Failure(
        "engine",
        `Only ${most} of ${tokens} tokens may be shared: see provenance.`,
      );
    }
    const fork = this.#engine.forkContext(context, tokens);
    this.blocks.fork(fork, context, tokens, owner);
    if (!owner.sharesBlocks || this.hasTables(context)) this.#withTables.add(fork);
    return fork;
  }

  /** A context that was made elsewhere: restored from disk. Nobody works with it. */
  adopt(context: ContextId): void {
    this.blocks.add(context, null);
    this.blocks.resize(context, this.length(context));
  }

  /** Forgets all but the first tokens. Within a block only where no other context has that block. */
  truncate(context: ContextId, tokens: number): void {
    this.#engine.truncateContext(context, tokens);
    this.blocks.resize(context, tokens);
  }

  hasTables(context: ContextId): boolean {
    return this.#withTables.has(context);
  }

  length(context: ContextId): number {
    return this.#engine.contextLength(context);
  }

  exact(context: ContextId): number {
    return this.#engine.contextExact(context);
  }

  /** Nobody works with it any more; `then` says what becomes of it, now or when the running step ended. */
  release(context: ContextId, then: (context: ContextId) => void): void {
    this.blocks.own(context, null);
    if (this.#running.delete(context)) {
      this.#engine.cancel(context);
      this.#doomed.set(context, then);
    } else {
      then(context);
    }
  }

  /** A step with these contexts starts. */
  begin(contexts: Iterable<ContextId>): void {
    this.#busy = true;
    for (const context of contexts) this.#running.add(context);
  }

  /** The step ended. */
  end(): void {
    const doomed = [...this.#doomed];
    for (const context of [...this.#running, ...this.#doomed.keys()]) {
      this.blocks.resize(context, this.length(context));
    }
    this.#busy = false;
    this.#running.clear();
    this.#doomed.clear();
    for (const [context, then] of doomed) then(context);
  }

  /** An engine that fails to free a context has lost it or is broken: either way nothing is left to free. */
  free(context: ContextId): void {
    this.blocks.remove(context);
    this.#withTables.delete(context);
    try {
      this.#engine.freeContext(context);
    } catch (error) {
      console.error("Cannot free a context:", error);
    }
  }
}
