// SPDX-License-Identifier: Apache-2.0
// Time limits, progress, and how the server stops.
import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { documents4096 } from "../fixtures/documents.ts";
import { serverSentEvents, TestServer } from "../fixtures/server.ts";

/** Answers that would take minutes. */
const ENDLESS = { prompt: "Once", max_tokens: 20_000, ignore_eos: true, stream: true };

function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  return fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body), headers });
}

Deno.test("an answer that takes too long ends with an error", async () => {
  // Without pings a whole answer has its status however late it is.
  const flags = ["--request-timeout", "2", "--ping", "0"];
  await using server = new TestServer(["--memory", "1GiB", ...flags]);
  const url = await server.ready();
  const { max_tokens, ignore_eos, prompt } = ENDLESS;
  const response = await post(url, { prompt, max_tokens, ignore_eos }, {
    "x-sounder-timeout": "1",
  });
  assertEquals([response.status, response.headers.get("x-should-retry")], [408, "false"]);
  assertStringIncludes((await response.json()).error.message, "1 seconds");
  const events = await Array.fromAsync(serverSentEvents(await post(url, ENDLESS)));
  assertEquals((events.at(-1) as { error: { code: string } }).error.code, "timeout");
  assert(events.length > 10, "the tokens until then were sent");
});

Deno.test("a long prompt says how far it is", async () => {
  await using server = new TestServer(["--memory", "1GiB", "--quiet"]);
  const url = await server.ready();
  const { document: prompt } = (await documents4096())[0]!;
  const ask = async () => {
    const body = { prompt, max_tokens: 1, stream: true, return_progress: true };
    const events = await Array.fromAsync(serverSentEvents(await post(url, body)));
    return events.flatMap((event) =>
      (event as { prompt_progress?: { total: number; cache: number; processed: number } })
        .prompt_progress ?? []
    );
  };
  const cold = await ask();
  assertEquals([cold[0]!.processed, cold[0]!.cache], [0, 0]);
  assert(cold.length > 2 && cold.at(-1)!.processed < cold[0]!.total);
  const [warm] = await ask();
  assertEquals([warm!.cache, warm!.processed], [warm!.total - 1, warm!.total - 1]);
});

Deno.test("a client that leaves without having read anything ends its work within three seconds", async () => {
  await using server = new TestServer(["--memory", "1GiB", "--quiet"]);
  const url = await server.ready();
  const { hostname, port } = new URL(url);
  for (const bytes of [1000, 100_000]) {
    const json = JSON.stringify({ ...ENDLESS, stream: false });
    const socket = await Deno.connect({ hostname, port: Number(port) });
    const writer = socket.writable.getWriter();
    await writer.write(
      new TextEncoder().encode(
        `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes}\r\n\r\n` +
          json.padEnd(bytes),
      ),
    );
    const health = async () => await (await fetch(`${url}/health`)).json();
    while ((await health()).running === 0) await new Promise((done) => setTimeout(done, 10));
    socket.close();
    const started = performance.now();
    for (let busy = true; busy;) {
      const { running, kv_blocks, kv_blocks_free } = await health();
      busy = running > 0 || kv_blocks_free < kv_blocks;
      assertLess(performance.now() - started, 3000, `${bytes} bytes`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }
});

/** Waits until a server that was told to stop has heard of it. */
async function draining(url: string): Promise<void> {
  for (;;) {
    const { status } = await (await fetch(`${url}/health`)).json();
    if (status === "draining") return;
    await new Promise((done) => setTimeout(done, 20));
  }
}

Deno.test("SIGTERM: new requests are refused, running ones are ended when --drain is over", async () => {
  await using server = new TestServer(["--memory", "1GiB", "--drain", "3"]);
  const url = await server.ready();
  const running = await post(url, ENDLESS);
  const events = Array.fromAsync(serverSentEvents(running));
  const started = performance.now();
  server.signal("SIGTERM");
  await draining(url);
  const refused = await post(url, { prompt: "x" });
  assertEquals(refused.status, 503);
  assert(Number(refused.headers.get("retry-after")) > 0);
  await refused.body?.cancel();
  assertEquals(((await events).at(-1) as { error: { code: string } }).error.code, "unavailable");
  assertEquals(await server.ended(), 0);
  assertLess(performance.now() - started, 8000);
});

Deno.test("a second signal ends the server at once", async () => {
  await using server = new TestServer(["--memory", "1GiB", "--drain", "600"]);
  const url = await server.ready();
  const running = await post(url, ENDLESS);
  server.signal("SIGTERM");
  await draining(url);
  // Two signals at once count as one.
  await new Promise((done) => setTimeout(done, 1000));
  server.signal("SIGTERM");
  assertEquals(await server.ended(), 130);
  await running.body?.cancel().catch(() => {});
});
