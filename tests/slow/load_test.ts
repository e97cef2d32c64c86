// SPDX-License-Identifier: Apache-2.0
// The short form of `deno task bench:load`.
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { percentile } from "../../bench/completions.ts";
import { runLoad } from "../../bench/load.ts";
import { TestServer } from "../fixtures/server.ts";

const SECONDS = Number(Deno.env.get("SOUNDER_LOAD_SECONDS") ?? 30);

Deno.test("64 clients that ask, leave and send garbage leak nothing, stick nowhere and leave /health quick", async () => {
  await using server = new TestServer(["--memory", "2GiB", "--quiet"]);
  const url = await server.ready();
  const load = await runLoad(url, { seconds: SECONDS, clients: 64, longest: 4000 });
  const median = percentile(load.healthMs, 0.5);
  console.log(
    `finished ${load.finished}, left ${load.left}, garbage ${load.garbage}, ` +
      `health median ${median.toFixed(1)} ms of ${load.healthMs.length}`,
  );
  assertEquals([...load.wrong, ...load.problems], []);
  for (const count of [load.finished, load.left, load.garbage]) assertGreater(count, 0);
  const { running, waiting, kv_blocks, kv_blocks_free } = load.rest;
  assertEquals([running, waiting], [0, 0]);
  assertEquals(kv_blocks_free, kv_blocks, "blocks leaked");
  // The tail is for the bench: here the clients, and maybe other tests, want the same cores.
  assertLess(median, 20);
  assertLess(load.mostResidentBytes, 1.05 * 2 ** 31);
});
