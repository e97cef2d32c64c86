// SPDX-License-Identifier: Apache-2.0
/** What is saved by itself while the server runs: what lies idle, and what would be evicted next. */
import { assertEquals } from "@std/assert";
import { promptOf } from "../../fixtures/requests.ts";
import { inFolder } from "../../fixtures/sessions.ts";
import { Kept, spec } from "../scheduler/jobs.ts";
import { VirtualClock } from "../scheduler/virtual_clock.ts";
import { pause, start, until, type World } from "./world.ts";

const ids = ({ sessions }: World) => sessions.list("").map(({ id }) => id);

/** Waits until all that was to be saved when it was last looked at is saved. */
function looked(clock: VirtualClock): Promise<void> {
  return until(() => clock.due.length > 0, "what is to be saved is not");
}

Deno.test("what lies idle for half a minute is saved while nothing runs, so a kill loses no more", () =>
  inFolder(async (folder) => {
    const clock = new VirtualClock();
    const first = await start(folder, {}, {}, clock);
    const pass = async (ms: number) => {
      clock.advance(ms);
      await looked(clock);
    };
    const prompts = [1, 2, 3].map((first) => promptOf(1000, first));
    await first.ask({ prompt: prompts[0]! });
    await first.ask({ prompt: prompts[1]! });
    await first.ask({ prompt: promptOf(100, 8) });
    await pass(20_000);
    await first.ask({ prompt: prompts[2]! });
    assertEquals(ids(first).length, 0);
    await pass(15_000);
    assertEquals([ids(first).length, first.engine.transfers], [2, 2]);
    for (let i = 0; i < 10; i++) await pass(5000);
    assertEquals([ids(first).length, first.engine.transfers], [3, 3]);
    await first.stop("killed");
    const second = await start(folder);
    for (const prompt of prompts) assertEquals((await second.ask({ prompt })).cachedTokens, 999);
    await second.stop("killed");
  }));

Deno.test("what would be evicted next is saved while requests run, and no more than that", () =>
  inFolder(async (folder) => {
    const clock = new VirtualClock();
    let step = () => {};
    let during = pause;
    const world = await start(folder, { kvBlocks: 36, during: () => during() }, {}, clock);
    // Ten blocks each; six are free of the nine that are to be ready.
    const prompts = [1, 2, 3].map((first) => promptOf(1200, first));
    for (const prompt of prompts) await world.ask({ prompt });
    during = () => new Promise((done) => step = done);
    world.scheduler.submit(spec({ prompt: promptOf(20, 5), maxTokens: 200 }), new Kept());
    for (let looks = 0; looks < 3; looks++) {
      clock.advance(5000);
      await until(() => {
        if (!world.engine.transferring) step();
        return clock.due.length > 0;
      }, "what would be evicted is not saved");
    }
    assertEquals([world.scheduler.running, ids(world).length], [1, 1]);
    during = pause;
    step();
    await world.idle();
    await world.stop("killed");
    const second = await start(folder);
    assertEquals((await second.ask({ prompt: prompts[0]! })).cachedTokens, 1199);
    await second.stop("killed");
  }));

Deno.test("nothing is saved for being idle while something runs", () =>
  inFolder(async (folder) => {
    const clock = new VirtualClock();
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    let held = Promise.resolve();
    const world = await start(folder, { during: () => held }, {}, clock);
    await world.ask({ prompt: promptOf(1000) });
    held = gate;
    const busy = world.ask({ prompt: promptOf(20, 5) });
    for (let i = 0; i < 20; i++) {
      clock.advance(5000);
      await pause();
    }
    assertEquals(world.engine.transfers, 0);
    open();
    await busy;
    await world.stop("killed");
  }));
