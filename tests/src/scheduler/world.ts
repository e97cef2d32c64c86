// SPDX-License-Identifier: Apache-2.0
/** A scheduler over a fake engine, and how its tests end. */
import { assertEquals } from "@std/assert";
import { type Clock, SYSTEM_CLOCK } from "../../../src/scheduler/clock.ts";
import type { JobSpec } from "../../../src/scheduler/job.ts";
import { Scheduler, type SchedulerOptions } from "../../../src/scheduler/scheduler.ts";
import { FakeEngine, type FakeOptions } from "../../fixtures/fake_engine.ts";
import { Kept, spec } from "./jobs.ts";

/** Goes on so slowly that every step is quick, also on a busy machine: what fits into one is what memory holds. */
function quickClock(): Clock {
  let now = 0;
  return { now: () => now += 1e-6, sleep: SYSTEM_CLOCK.sleep };
}

/** Without a prefix cache, unless the options say otherwise: the prompts of tests are alike. */
export function setUp(script: FakeOptions = {}, options: SchedulerOptions = {}) {
  const engine = new FakeEngine(script);
  const scheduler = new Scheduler(engine, { prefixCache: false, clock: quickClock(), ...options });
  const submit = (fields: Parameters<typeof spec>[0] = {}, output = new Kept()) => {
    const handle = scheduler.submit(spec(fields), output);
    return { ...handle, output };
  };
  return { engine, scheduler, submit };
}

/** Lets everything finish, and checks that the engine was used rightly and nothing is left in it. */
export async function finish({ engine, scheduler }: { engine: FakeEngine; scheduler: Scheduler }) {
  while (scheduler.running + scheduler.waiting > 0) await new Promise((done) => setTimeout(done));
  await scheduler.close();
  assertEquals(engine.violations, []);
  assertEquals(engine.usage(), { kvBlocksFree: engine.limits.kvBlocks, contexts: 0 });
}

/** The tokens of each choice of a job that runs alone. */
export async function alone(
  fields: Partial<JobSpec> & { promptTokens?: number },
): Promise<number[][]> {
  const world = setUp();
  const { output } = world.submit(fields);
  await finish(world);
  return Array.from({ length: fields.n ?? 1 }, (_, choice) => output.of(choice));
}
