// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { lanesOf, messagesOf } from "../../web/conversation.ts";
import { eventData } from "../../web/events.ts";

const source = { name: "a.txt", text: "The lamp.\n", tokens: 3 };

Deno.test("documents come first, and further questions begin as the first did", () => {
  const first = { question: "Who?", sources: [source], answers: { auto: "Ada." } };
  const second = { question: "Where?", sources: [], answers: {} };
  const asked = messagesOf([first, second], "auto");
  assertEquals(asked, [
    { role: "user", content: "The lamp.\nWho?" },
    { role: "assistant", content: "Ada." },
    { role: "user", content: "Where?" },
  ]);
  assertEquals(messagesOf([{ ...first, answers: {} }], "auto"), asked.slice(0, 1));
});

Deno.test("side by side, each lane goes on from its own answer, and others from one there is", () => {
  const answers = { full: "exact", sketch: "sampled" };
  const turns = [{ question: "q", sources: [], answers }, {
    question: "r",
    sources: [],
    answers: {},
  }];
  const said = (lane: "auto" | "full" | "sketch") => messagesOf(turns, lane)[1]!.content;
  assertEquals([said("full"), said("sketch"), said("auto")], ["exact", "sampled", "exact"]);
  assertEquals([lanesOf("both"), lanesOf("auto")], [["full", "sketch"], ["auto"]]);
});

Deno.test("events are the same however the network cuts them", async () => {
  const events = ['{"text":"häus 🐗"}', '{"text":"\\n"}', "[DONE]"];
  const bytes = new TextEncoder().encode(
    `: ping\n\n${events.map((event) => `data: ${event}\n\n`).join(": ping\n\n")}`,
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
      const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const parts = edges.slice(1).map((end, i) => bytes.subarray(edges[i], end));
      const body = ReadableStream.from(parts) as ReadableStream<Uint8Array>;
      assertEquals(await Array.fromAsync(eventData(body)), events);
    }),
    { seed: 1 },
  );
});
