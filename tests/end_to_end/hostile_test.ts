// SPDX-License-Identifier: Apache-2.0
// Clients that hold on to connections: the server goes on for the others.
import { assertEquals, assertLess } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";

const ENCODER = new TextEncoder();

interface Address {
  hostname: string;
  port: number;
}

function addressOf(url: string): Address {
  const { hostname, port } = new URL(url);
  return { hostname, port: Number(port) };
}

/** So many connections that send this and nothing more; those that are refused are left out. */
async function hold(address: Address, count: number, text: string): Promise<Deno.Conn[]> {
  const connections: Deno.Conn[] = [];
  for (let i = 0; i < count; i++) {
    const connection = await Deno.connect(address).catch(() => null);
    if (connection === null) continue;
    if (text !== "") await connection.write(ENCODER.encode(text));
    connections.push(connection);
  }
  return connections;
}

function closeAll(connections: Deno.Conn[]): void {
  for (const connection of connections.splice(0)) connection.close();
}

async function answers(url: string): Promise<number> {
  const start = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ max_tokens: 4, messages: [{ role: "user", content: "hi" }] }),
  });
  assertEquals(response.status, 200, await response.text());
  return performance.now() - start;
}

async function residentMib(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes\{.*\} (\S+)$/m.exec(metrics)![1]) / 2 ** 20;
}

Deno.test("clients that hold on to connections", async (t) => {
  await using server = new TestServer(["--memory", "1GiB", "--quiet"]);
  const url = await server.ready();
  const address = addressOf(url);
  const held: Deno.Conn[] = [];
  await answers(url);
  const before = await residentMib(url);

  await t.step("1,000 idle ones and 100 with half a header: others are answered", async () => {
    held.push(...await hold(address, 1000, ""));
    assertEquals(held.length, 1000);
    held.push(...await hold(address, 100, "GET / HTTP/1.1\r\nhost: x\r\nx-half: "));
    assertLess(await answers(url), 5000);
    assertLess(await residentMib(url) - before, 100);
  });

  await t.step("50 with half a body: others are answered, and none holds a place", async () => {
    const head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n{";
    held.push(...await hold(address, 50, head));
    assertLess(await answers(url), 5000);
    const health = await (await fetch(`${url}/health`)).json();
    assertEquals([health.running, health.waiting], [0, 0]);
  });

  await t.step("one that reads a byte a second: others are answered, and it is ended", async () => {
    const reader = await Deno.connect({ ...address });
    const body = JSON.stringify({
      ...{ prompt: "Once", max_tokens: 400, ignore_eos: true, stream: true },
      ...{ logprobs: 20, return_token_ids: true },
    });
    const lines = ["POST /v1/completions HTTP/1.1", "host: x", `content-length: ${body.length}`];
    await reader.write(ENCODER.encode(`${lines.join("\r\n")}\r\n\r\n${body}`));
    const first = new Uint8Array(1);
    for (let i = 0; i < 3; i++) {
      assertEquals(await reader.read(first), 1);
      await new Promise((next) => setTimeout(next, 1000));
    }
    assertLess(await answers(url), 5000);
    reader.close();
    const deadline = performance.now() + 5000;
    for (;;) {
      const { running, kv_blocks, kv_blocks_free } = await (await fetch(`${url}/health`)).json();
      if (running === 0 && kv_blocks === kv_blocks_free) break;
      assertLess(performance.now(), deadline, "its blocks are not freed");
      await new Promise((next) => setTimeout(next, 50));
    }
  });
  closeAll(held);
});

Deno.test("a server that is out of file descriptors answers again when there are some", async () => {
  const limited = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash"];
  await using server = new TestServer(["--memory", "1GiB", "--quiet"], {}, limited);
  const url = await server.ready();
  const address = addressOf(url);
  await answers(url);
  const held = await hold(address, 300, "");
  const deadline = performance.now() + 10_000;
  while (!server.log.includes("Cannot accept connections: ")) {
    assertLess(performance.now(), deadline, server.log);
    await new Promise((next) => setTimeout(next, 20));
  }
  closeAll(held);
  while (await fetch(`${url}/health/live`).then((got) => got.text(), () => null) === null) {
    assertLess(performance.now(), deadline, server.log);
    await new Promise((next) => setTimeout(next, 100));
  }
  await answers(url);
});
