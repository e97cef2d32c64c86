// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { Contexts } from "../../../src/scheduler/contexts.ts";
import type { Job } from "../../../src/scheduler/job.ts";
import { Ledger } from "../../../src/scheduler/memory.ts";
import { PrefixSharing } from "../../../src/scheduler/prefix_sharing.ts";
import { Roster } from "../../../src/scheduler/roster.ts";
import { WaitingQueue } from "../../../src/scheduler/waiting.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { Random } from "../../fixtures/fake_model.ts";
import { job, type Kept } from "./jobs.ts";

const BLOCK = 128;

function setUp(kvBlocks: number, maxContexts = 16) {
  const engine = new FakeEngine({ kvBlocks, maxContexts });
  const queue = new WaitingQueue(100, 1_000_000);
  const contexts = new Contexts(engine);
  const ledger = new Ledger(kvBlocks, maxContexts, () => contexts.blocks.shared);
  const roster = new Roster(ledger, new PrefixSharing(contexts, null), queue);
  return { engine, queue, roster, contexts };
}

/** A job that asks for one block more than its prompt and may become `blocks` long. */
function grower(blocks: number, promptBlocks = 1): Job {
  const promptTokens = promptBlocks * BLOCK - 1;
  return job({ promptTokens, maxTokens: blocks * BLOCK - promptTokens, reserved: 2 });
}

/** Lets a job have so many tokens in its context, and one more to feed. */
function fill(filled: Job, tokens: number): void {
  const [sequence] = filled.sequences;
  sequence!.length = tokens;
  sequence!.generated.length = 0;
  for (let i = filled.spec.prompt.length; i <= tokens; i++) sequence!.generated.push(0);
}

function states(jobs: readonly Job[]): string {
  return jobs.map(({ state }) => state).join(" ");
}

function stall(stalled: Job, value: boolean): void {
  (stalled.output as Kept).stalled = value;
}

Deno.test("a job that fits is admitted, the next one that doesn't waits, and nobody overtakes it", () => {
  const { roster, queue } = setUp(5);
  const jobs = [grower(4), grower(4), job(), job()];
  assert(roster.tryAdmit(jobs[0]!));
  for (const each of jobs.slice(1)) queue.push(each);
  roster.settle();
  assertEquals(states(jobs), "running running running waiting");
  assertEquals(queue.jobs, [jobs[3]!]);
  const large = job({ promptTokens: 300 });
  assertEquals(roster.tryAdmit(large), false);
  roster.remove(jobs[1]!);
  roster.settle();
  assertEquals(states(jobs), "running ended running running");
});

Deno.test("as many contexts as there are choices must be free", () => {
  const { roster } = setUp(64, 3);
  assert(roster.tryAdmit(job({ n: 2 })));
  assertEquals(roster.tryAdmit(job({ n: 2 })), false);
  assert(roster.tryAdmit(job({ n: 1 })));
});

Deno.test("when a job grows, the youngest gives up what it committed and doesn't use", () => {
  const { roster } = setUp(6);
  const jobs = [grower(5), grower(5), grower(5)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  assertEquals(jobs.map(({ blocks }) => blocks), [2, 2, 2]);
  fill(jobs[0]!, 2 * BLOCK);
  fill(jobs[1]!, BLOCK);
  fill(jobs[2]!, BLOCK);
  roster.settle();
  assertEquals(states(jobs), "running running paused");
  assertEquals(jobs.map(({ blocks }) => blocks), [3, 2, 1]);
});

Deno.test("a job that finds no block pauses with its KV, while the oldest goes on", () => {
  const { roster, engine, contexts } = setUp(4);
  const jobs = [grower(4), grower(4)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  jobs[1]!.sequences[0]!.context = contexts.create(jobs[1]!);
  fill(jobs[0]!, BLOCK);
  fill(jobs[1]!, 2 * BLOCK);
  roster.settle();
  assertEquals(states(jobs), "running paused");
  assertEquals(engine.usage().contexts, 1);
  roster.remove(jobs[0]!);
  roster.settle();
  assertEquals(states(jobs), "ended running");
  assertEquals(jobs[1]!.sequences[0]!.length, 2 * BLOCK);
});

Deno.test("for the oldest job the youngest gives up its KV, to run its tokens again later", () => {
  const { roster, engine, contexts } = setUp(4);
  const jobs = [grower(4), grower(3)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  jobs[1]!.sequences[0]!.context = contexts.create(jobs[1]!);
  fill(jobs[0]!, 2 * BLOCK);
  fill(jobs[1]!, 2 * BLOCK);
  roster.settle();
  assertEquals(states(jobs), "running released");
  assertEquals(jobs.map(({ output }) => (output as Kept).preemptions), [0, 1]);
  assertEquals(engine.usage().contexts, 0);
  assertEquals([jobs[1]!.sequences[0]!.length, jobs[1]!.blocks], [0, 0]);
  fill(jobs[0]!, 3 * BLOCK);
  roster.settle();
  assertEquals(states(jobs), "running released");
  roster.remove(jobs[0]!);
  roster.settle();
  assertEquals([jobs[1]!.state, jobs[1]!.blocks], ["running", 3]);
});

Deno.test("who paused or was released goes on before anyone in the queue is admitted", () => {
  const { roster, queue } = setUp(9);
  const jobs = [grower(9), grower(8, 5)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  roster.release(jobs[1]!);
  fill(jobs[0]!, 4 * BLOCK);
  const late = grower(2);
  queue.push(late);
  roster.settle();
  // Four blocks are free: less than the released job wants, more than the late one does.
  assertEquals([jobs[0]!.blocks, jobs[1]!.state, late.state], [5, "released", "waiting"]);
  assertEquals(roster.tryAdmit(grower(2)), false);
  roster.remove(jobs[0]!);
  roster.settle();
  assertEquals(states([...jobs, late]), "ended running running");
});

Deno.test("of two released jobs the younger one that would fit waits for the older one", () => {
  const { roster } = setUp(12);
  const jobs = [grower(12), grower(6, 5), grower(2)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  roster.release(jobs[1]!);
  roster.release(jobs[2]!);
  fill(jobs[0]!, 8 * BLOCK);
  roster.settle();
  // Three blocks are free: the older needs six, the younger two.
  assertEquals(states(jobs), "running released released");
});

Deno.test("a job whose reader is slow pauses, and goes on when the reader does", () => {
  const { roster } = setUp(8);
  const jobs = [grower(4), grower(4)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  stall(jobs[0]!, true);
  roster.settle();
  assertEquals(states(jobs), "paused running");
  stall(jobs[0]!, false);
  roster.settle();
  assertEquals(states(jobs), "running running");
});

Deno.test("a slow reader's KV goes first when the oldest of the others needs a block", () => {
  const { roster, contexts } = setUp(7);
  const jobs = [grower(3), grower(4), grower(3)];
  for (const each of jobs) assert(roster.tryAdmit(each));
  jobs[0]!.sequences[0]!.context = contexts.create(jobs[0]!);
  for (const each of jobs) fill(each, 2 * BLOCK - 1);
  stall(jobs[0]!, true);
  fill(jobs[1]!, 3 * BLOCK);
  roster.settle();
  assertEquals(states(jobs), "released running running");
});

Deno.test("when only slow readers are left, they make room for the queue", () => {
  const { roster, queue } = setUp(4);
  const jobs = [grower(3), grower(3)];
  assert(roster.tryAdmit(jobs[0]!));
  fill(jobs[0]!, 2 * BLOCK);
  roster.settle();
  stall(jobs[0]!, true);
  queue.push(jobs[1]!);
  roster.settle();
  assertEquals(states(jobs), "paused running");
  const third = grower(4);
  queue.push(third);
  fill(jobs[1]!, 2 * BLOCK - 1);
  stall(jobs[1]!, true);
  roster.settle();
  assertEquals(states([...jobs, third]), "paused released running");
});

Deno.test("what an ended choice alone needed is free at once", () => {
  const { roster, engine, contexts } = setUp(8);
  const two = job({ promptTokens: 2 * BLOCK + 1, maxTokens: 100, n: 2 });
  assert(roster.tryAdmit(two));
  assertEquals(two.blocks, 4);
  two.markForked();
  for (const sequence of two.sequences) {
    sequence.context = contexts.create(two);
    sequence.length = 2 * BLOCK;
  }
  assertEquals(roster.end(two.sequences[0]!), false);
  assertEquals([two.blocks, two.contexts, engine.usage().contexts], [3, 1, 1]);
  assertEquals(roster.end(two.sequences[1]!), true);
  assertEquals([two.blocks, two.state, engine.usage().contexts], [0, "ended", 0]);
});

Deno.test("jobs are admitted in the order they came, whatever grows, ends or is read slowly", () => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const { roster, queue } = setUp(random.integer(6, 20), random.integer(1, 6));
    const jobs = Array.from({ length: 12 }, () => grower(random.integer(2, 6)));
    for (const each of jobs) queue.push(each);
    const admitted: Job[] = [];
    for (let round = 0; queue.length + roster.jobs.length > 0; round++) {
      assert(round < 2000, `Seed ${seed} never ends.`);
      for (const each of roster.jobs) stall(each, random.chance(0.1));
      roster.settle();
      for (const each of roster.jobs) if (!admitted.includes(each)) admitted.push(each);
      const head = roster.jobs.find(({ output }) => !output.stalled);
      if (head !== undefined) assertEquals(head.state, "running");
      for (const each of roster.jobs.filter(({ state }) => state === "running")) {
        const [sequence] = each.sequences;
        const length = each.spec.prompt.length + sequence!.generated.length;
        if (sequence!.generated.length + 40 >= each.spec.maxTokens) roster.end(sequence!);
        else fill(each, length + 39);
      }
    }
    assertEquals(admitted, jobs);
  }
});
