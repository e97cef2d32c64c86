// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects } from "@std/assert";
import { eventStream, frame, PING } from "../../routes/sse.ts";
import { gate } from "../fixtures/fake_service.ts";

async function* silent(until: Promise<void>): AsyncGenerator<string> {
  await until;
  yield frame({ a: "\n\r\u2028" });
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("frame() is one line of JSON whatever the text holds", () => {
  assertEquals(frame({ a: "x\ny\r\n" }), 'data: {"a":"x\\ny\\r\\n"}\n\n');
});

Deno.test("eventStream() lets at most one comment wait for a slow reader", async () => {
  const end = gate();
  const reader = eventStream(silent(end.opened), { pingMs: 2, cancel() {} }).getReader();
  const decoder = new TextDecoder();
  await reader.read();
  await wait(40);
  end.open();
  await wait(5);
  let rest = "";
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    rest += decoder.decode(next.value);
  }
  assert(rest.split(PING).length <= 3, JSON.stringify(rest));
  assert(rest.includes('data: {"a"'));
});

Deno.test("eventStream() without pings is silent, and cancel reaches the owner once", async () => {
  const end = gate();
  let cancels = 0;
  const reader = eventStream(silent(end.opened), { pingMs: 0, cancel: () => cancels++ })
    .getReader();
  const next = reader.read();
  const first = await Promise.race([next, wait(20).then(() => "silence")]);
  assertEquals(first, "silence");
  await reader.cancel();
  await reader.cancel();
  end.open();
  assertEquals((await next).done, true);
  assertEquals(cancels, 1);
});

Deno.test("eventStream() gives up a reader that takes nothing, and not one that waits", async () => {
  const end = gate();
  let cancels = 0;
  const waiting = eventStream(silent(end.opened), {
    pingMs: 0,
    cancel: () => cancels++,
    stallMs: 10,
  }).getReader();
  const first = waiting.read();
  await wait(50);
  assertEquals(cancels, 0);
  end.open();
  assertEquals((await first).done, false);
  await wait(50);
  assertEquals(cancels, 1);
  await assertRejects(() => waiting.read(), Error, "takes nothing");
});

Deno.test("eventStream() that was not read starts no timer", () => {
  eventStream(silent(gate().opened), { pingMs: 1, cancel() {} });
});
