// SPDX-License-Identifier: Apache-2.0
/** A scheduler with sessions over the fake engine: one life of a server. */
import { assert, assertEquals } from "@std/assert";
import type { JobSpec } from "../../../src/scheduler/job.ts";
import type { Clock } from "../../../src/scheduler/clock.ts";
import { Scheduler } from "../../../src/scheduler/scheduler.ts";
import { Sessions } from "../../../src/sessions/sessions.ts";
import type { StoreOptions } from "../../../src/sessions/store.ts";
import { FakeEngine, type FakeOptions } from "../../fixtures/fake_engine.ts";
import { openStore } from "../../fixtures/sessions.ts";
import { Kept, spec } from "../scheduler/jobs.ts";
import { VirtualClock } from "../scheduler/virtual_clock.ts";

/** What comes at once may be late on a busy machine. */
const PATIENCE_MS = 20_000;

export class World {
  constructor(
    readonly engine: FakeEngine,
    readonly scheduler: Scheduler,
    readonly sessions: Sessions,
    readonly log: string[],
  ) {}

  /** Runs a request to its end as the service does, and returns what it got. */
  async ask(fields: Partial<JobSpec>, session: string | null = null): Promise<Kept> {
    const asked = spec({ maxTokens: 8, ...fields });
    const scope = asked.cacheScope;
    await this.sessions.recall(scope, asked.prompt);
    if (session !== null) this.sessions.pin({ scope, id: session }, asked.prompt);
    const output = new Kept();
    this.scheduler.submit(asked, output);
    await this.idle();
    assertEquals(output.failure, null);
    return output;
  }

  async idle(): Promise<void> {
    while (this.scheduler.running + this.scheduler.waiting > 0) await pause();
  }

  /** Stops as a server does, or as one that is killed; the engine must be empty and well used. */
  async stop(how: "saving" | "killed" = "saving"): Promise<void> {
    await this.scheduler.drain(PATIENCE_MS);
    if (how === "saving") await this.sessions.saveAll(PATIENCE_MS);
    await this.sessions.close();
    await this.scheduler.close();
    assertEquals(this.engine.violations, []);
    assertEquals(this.engine.usage(), {
      kvBlocksFree: this.engine.limits.kvBlocks,
      contexts: 0,
    });
  }
}

export function pause(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}

export async function until(what: () => boolean, message: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!what()) {
    assert(performance.now() < deadline, message);
    await pause();
  }
}

/** A life with time that stands still, unless a clock says otherwise: nothing lies idle for long. */
export async function start(
  folder: string,
  script: FakeOptions = {},
  options: Partial<StoreOptions> = {},
  clock: Clock = new VirtualClock(),
): Promise<World> {
  const engine = new FakeEngine(script);
  const scheduler = new Scheduler(engine, { clock });
  const { store, log } = await openStore(engine, folder, options);
  return new World(engine, scheduler, new Sessions(engine, scheduler, store, clock), log);
}
