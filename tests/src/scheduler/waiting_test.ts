// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { WaitingQueue } from "../../../src/scheduler/waiting.ts";
import { job } from "./jobs.ts";

Deno.test("the queue is bounded in requests", () => {
  const queue = new WaitingQueue(2, 1000);
  const first = job();
  queue.push(first);
  queue.push(job());
  assertEquals(queue.accepts(job()), false);
  queue.remove(first);
  assertEquals(queue.accepts(job()), true);
});

Deno.test("the queue is bounded in prompt tokens, but an empty one takes any prompt", () => {
  const queue = new WaitingQueue(10, 100);
  const long = job({ promptTokens: 500 });
  assertEquals(queue.accepts(long), true);
  queue.push(long);
  assertEquals(queue.accepts(job({ promptTokens: 1 })), false);
  queue.remove(long);
  queue.remove(long);
  queue.push(job({ promptTokens: 60 }));
  assertEquals(queue.accepts(job({ promptTokens: 40 })), true);
  assertEquals(queue.accepts(job({ promptTokens: 41 })), false);
});

Deno.test("the queue keeps the order of arrival when one in the middle leaves", () => {
  const queue = new WaitingQueue(3, 100);
  const jobs = [job(), job(), job()];
  for (const each of jobs) queue.push(each);
  queue.remove(jobs[1]!);
  assertEquals(queue.jobs, [jobs[0]!, jobs[2]!]);
  assertEquals(queue.first, jobs[0]!);
  assertEquals(queue.length, 2);
});
