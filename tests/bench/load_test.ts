// SPDX-License-Identifier: Apache-2.0
// The load can fail: servers that answer badly are found out.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runLoad } from "../../bench/load.ts";
import { fakeServer } from "../fixtures/fake_http.ts";

const REST = { running: 0, waiting: 0, kv_blocks: 8, kv_blocks_free: 8, kv_blocks_cached: 2 };
const METRICS = 'process_resident_memory_bytes{model_name="recall"} 12345\n';

/** The load's report on a server that answers completions so. */
async function load(completion: (body: string) => Response) {
  await using server = fakeServer(async (request) => {
    const body = await request.text();
    const { pathname } = new URL(request.url);
    if (pathname === "/health") return Response.json(REST);
    if (pathname === "/metrics") return new Response(METRICS);
    await new Promise((done) => setTimeout(done, 5));
    return completion(body);
  });
  return await runLoad(server.url, { seconds: 0.4, clients: 4, longest: 100 });
}

Deno.test("memory, /health and the state afterwards are what the server says", async () => {
  const report = await load(() => Response.json({ choices: [{ finish_reason: "length" }] }));
  assertEquals([report.mostResidentBytes, report.rest, report.problems], [12345, REST, []]);
  assert(report.healthMs.length > 1 && report.finished > 0);
});

Deno.test("streams that break off, failures and errors that say nothing are wrong", async () => {
  const answers: [Response, string][] = [
    [new Response("data: {}\n\n", { headers: { "content-type": "text/event-stream" } }), "ended"],
    [new Response("broken", { status: 500 }), "broken"],
    [new Response(null, { status: 429 }), "429"],
    [Response.json({ choices: [] }), "no choice"],
  ];
  for (const [response, what] of answers) {
    const { wrong } = await load((body) =>
      body.startsWith('{"prompt":[') ? response.clone() : Response.json({}, { status: 400 })
    );
    assertStringIncludes(wrong.join("\n"), what);
  }
});

Deno.test("garbage that is taken for a request is wrong", async () => {
  const { wrong } = await load(() => Response.json({ choices: [{ finish_reason: "length" }] }));
  assert(wrong.some((problem) => problem.startsWith("200 instead of 4")), wrong.join("\n"));
});
