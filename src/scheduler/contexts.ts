// SPDX-License-Identifier: Apache-2.0
/** The engine's contexts, with the rule that those in the running step cannot be freed until it ended. */
import type { ContextId, Engine } from "../engine/engine.ts";
import { type Provenance, shareable } from "../engine/provenance.ts";
import { Failure } from "../errors.ts";

export class Contexts {
  readonly #engine: Engine;
  readonly #running = new Set<ContextId>();
  readonly #doomed: ContextId[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  create(): ContextId {
    return this.#engine.createContext();
  }

  /**
   * A context for a sequence of the wanted provenance, with all that this one has.
   * @throws {Failure} kind `engine` when it may not have all of it: KV that another one sampled
   */
  fork(context: ContextId, provenance: Provenance, wanted: Provenance): ContextId {
    const length = this.#engine.contextLength(context);
    const exact = this.#engine.contextExact(context);
    const tokens = shareable({ provenance, length, exact }, wanted);
    if (tokens < length) {
      throw new Failure(
        "engine",
        `Only ${tokens} of ${length} tokens may be shared: see provenance.`,
      );
    }
    return this.#engine.forkContext(context, length);
  }

  /** Frees it, or ends its part of the running step and frees it after that. */
  release(context: ContextId): void {
    if (this.#running.delete(context)) {
      this.#engine.cancel(context);
      this.#doomed.push(context);
    } else {
      this.#free(context);
    }
  }

  /** A step with these contexts starts. */
  begin(contexts: Iterable<ContextId>): void {
    for (const context of contexts) this.#running.add(context);
  }

  /** The step ended. */
  end(): void {
    this.#running.clear();
    for (const context of this.#doomed.splice(0)) this.#free(context);
  }

  /** An engine that fails to free a context has lost it or is broken: either way nothing is left to free. */
  #free(context: ContextId): void {
    try {
      this.#engine.freeContext(context);
    } catch (error) {
      console.error("Cannot free a context:", error);
    }
  }
}
