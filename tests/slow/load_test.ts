// SPDX-License-Identifier: Apache-2.0
// Sixteen clients stream at once for a minute, and a third of them leave midway.
import { assert, assertEquals, assertLess } from "@std/assert";
import { serverSentEvents, TestServer } from "../fixtures/server.ts";

const CLIENTS = 16;
const SECONDS = Number(Deno.env.get("SOUNDER_LOAD_SECONDS") ?? 60);

/** A linear congruential generator: the same traffic in every run. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
}

interface Counts {
  finished: number;
  left: number;
  wrong: string[];
}

async function oneRequest(url: string, random: () => number, counts: Counts): Promise<void> {
  const words = Math.floor(10 + random() * 1500);
  const leaves = random() < 1 / 3;
  const leaveAfter = Math.floor(random() * 12);
  const controller = new AbortController();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    signal: controller.signal,
    body: JSON.stringify({
      model: "recall",
      stream: true,
      max_tokens: Math.floor(8 + random() * 40),
      ignore_eos: true,
      messages: [{ role: "user", content: "The lamp is lit by Ada. ".repeat(words / 6) }],
    }),
  });
  if (response.status === 429) {
    await response.body?.cancel();
    await new Promise((done) => setTimeout(done, 200));
    return;
  }
  let events = 0, last: unknown;
  try {
    for await (const event of serverSentEvents(response)) {
      last = event;
      if (leaves && ++events > leaveAfter) controller.abort();
    }
  } catch (error) {
    if (!leaves) counts.wrong.push(String(error));
    else counts.left++;
    return;
  }
  if (last === "[DONE]") counts.finished++;
  else counts.wrong.push(JSON.stringify(last));
}

async function watchHealth(url: string, stop: AbortSignal): Promise<number[]> {
  const times: number[] = [];
  while (!stop.aborted) {
    const start = performance.now();
    const response = await fetch(`${url}/health`);
    await response.body?.cancel();
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 50));
  }
  return times.toSorted((a, b) => a - b);
}

Deno.test("sixteen streams for a minute leak nothing, stick nowhere and leave /health quick", async () => {
  await using server = new TestServer(["--memory", "4GiB"]);
  const url = await server.ready();
  const counts: Counts = { finished: 0, left: 0, wrong: [] };
  const stop = new AbortController();
  const healthTimes = watchHealth(url, stop.signal);
  const end = performance.now() + SECONDS * 1000;
  await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
    const random = randomNumbers(i + 1);
    while (performance.now() < end) await oneRequest(url, random, counts);
  }));
  stop.abort();
  const times = await healthTimes;
  await new Promise((done) => setTimeout(done, 500));
  const status = await (await fetch(`${url}/health`)).json();
  const median = times[Math.floor(times.length / 2)]!,
    p99 = times[Math.floor(times.length * 0.99)]!;
  console.log(
    `finished ${counts.finished}, left ${counts.left}, health median ${median.toFixed(1)} ms, ` +
      `p99 ${p99.toFixed(1)} ms of ${times.length}`,
  );
  assertEquals(counts.wrong, []);
  assert(counts.finished > CLIENTS && counts.left > 0);
  assertEquals([status.running, status.waiting], [0, 0]);
  assertEquals(status.kv_blocks_free, status.kv_blocks, "blocks leaked");
  assertLess(median, 20);
});
