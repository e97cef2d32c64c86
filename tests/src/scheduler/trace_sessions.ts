// SPDX-License-Identifier: Apache-2.0
/** What sessions do to the cache while requests run: they hold contexts, and reserve room for others. */
import { assert, assertEquals } from "@std/assert";
import type { Scheduler } from "../../../src/scheduler/scheduler.ts";
import type { FakeEngine } from "../../fixtures/fake_engine.ts";
import type { Random } from "../../fixtures/fake_model.ts";

export class TraceSessions {
  readonly #engine: FakeEngine;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #work: Promise<void>[] = [];

  constructor(engine: FakeEngine, scheduler: Scheduler, random: Random) {
    this.#engine = engine;
    this.#scheduler = scheduler;
    this.#random = random;
    const { cache } = scheduler;
    if (cache === null) return;
    cache.keeper = (cached) => {
      if (random.chance(0.2)) this.#later(cache.hold(cached));
      return random.chance(0.9);
    };
  }

  /** May do something after this step. */
  act(): void {
    const { cache } = this.#scheduler;
    if (cache === null || !this.#random.chance(0.1)) return;
    const work = this.#scheduler.alone(() => {
      const idle = cache.idle();
      if (idle.length > 0) this.#later(cache.hold(this.#random.pick(idle)));
      const blocks = this.#random.integer(0, 4);
      const reserved = cache.reserve(blocks);
      if (reserved !== null) assert(this.#engine.usage().kvBlocksFree >= blocks, "room is there");
      this.#later(reserved);
    });
    this.#work.push(work);
  }

  /** Once nothing runs: the engine holds what the cache says, and nothing else. */
  async check(): Promise<void> {
    while (this.#work.length > 0) await this.#work.pop();
    await this.#scheduler.alone(() => {
      const { kvBlocksFree, contexts } = this.#engine.usage();
      const figures = this.#scheduler.cache?.figures() ?? { blocks: 0, contexts: 0 };
      assertEquals(
        [this.#engine.limits.kvBlocks - kvBlocksFree, contexts],
        [figures.blocks, figures.contexts],
      );
    });
  }

  /** Lets go after some microtasks: a transfer takes time, whatever the scheduler does. */
  #later(letGo: (() => void) | null): void {
    if (letGo === null) return;
    const turns = this.#random.integer(0, 200);
    const wait = async () => {
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      letGo();
    };
    this.#work.push(wait());
  }
}
