// SPDX-License-Identifier: Apache-2.0
/** The engine's contexts, with the rule that those in the running step cannot be freed until it ended. */
import type { ContextId, Engine } from "../engine/engine.ts";

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

  fork(context: ContextId, tokens: number): ContextId {
    return this.#engine.forkContext(context, tokens);
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
