// SPDX-License-Identifier: Apache-2.0
// What one request may ask for, and how long it may take to ask.
import { assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { readJson } from "../../routes/body.ts";
import { ApiError } from "../../routes/errors.ts";
import { MAX_NAME } from "../../routes/schemas/fields.ts";
import { MAX_BIASES } from "../../routes/schemas/generation.ts";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

/** A request whose body comes byte by byte. */
function trickling(text: string, everyMs: number): { request: Request; stopped: () => boolean } {
  const bytes = new TextEncoder().encode(text);
  let sent = 0;
  let stopped = false;
  let timer = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise<void>((next) => timer = setTimeout(next, everyMs) as unknown as number);
      if (sent === bytes.length) controller.close();
      else controller.enqueue(bytes.subarray(sent, ++sent));
    },
    cancel: () => {
      stopped = true;
      clearTimeout(timer);
    },
  });
  return { request: new Request("http://x/", { method: "POST", body }), stopped: () => stopped };
}

Deno.test("a body that trickles in is a 408, and its connection is let go", async () => {
  const { request, stopped } = trickling("x".repeat(10_000), 5);
  const start = performance.now();
  const error = await assertRejects(() => readJson(request, 1 << 20, 0.05), ApiError);
  assertEquals([error.status, error.body.error.code], [408, "request_timeout"]);
  assertLess(performance.now() - start, 2000);
  assertEquals(stopped(), true);
});

Deno.test("a slow body that keeps on coming is read", async () => {
  const { request } = trickling('{"a":1}', 5);
  assertEquals(await readJson(request, 1 << 20, 5), { a: 1 });
});

Deno.test("a compressed body is told to come as it is", async () => {
  const app = appOver(new FakeService());
  const headers = { "content-encoding": "gzip" };
  const response = await app.request(CHAT, { method: "POST", headers, body: "x" });
  assertStringIncludes((await failed(response, 400)).message, 'content-encoding "gzip"');
});

Deno.test("long names, many biases: a 400 that names the field", async () => {
  const app = appOver(new FakeService());
  const long = "x".repeat(MAX_NAME + 1);
  const bad: [object, string][] = [
    [{ messages: [{ ...messages[0], name: long }] }, "messages[0].name"],
    [{ messages: [{ role: "tool", tool_call_id: long, content: "" }] }, "messages[0].tool_call_id"],
    [{
      logit_bias: Object.fromEntries(Array.from({ length: MAX_BIASES + 1 }, (_, i) => [i, 1])),
    }, "logit_bias"],
  ];
  for (const [fields, param] of bad) {
    const error = await failed(await post(app, CHAT, { messages, ...fields }), 400);
    assertEquals(error.param, param);
  }
});

Deno.test("a model's name is compared and never becomes a path", async () => {
  const app = appOver(new FakeService());
  for (const model of ["../../etc/passwd", "/etc/passwd", "fake/model/../model", "fake%2Fmodel"]) {
    const error = await failed(await post(app, CHAT, { model, messages }), 404);
    assertEquals(error.code, "model_not_found");
    await failed(await app.request(`/v1/models/${encodeURIComponent(model)}`), 404);
  }
  await ok(await app.request("/v1/models/fake/model"));
});

Deno.test("a request brings no template of its own", async () => {
  const error = await failed(
    await post(appOver(new FakeService()), CHAT, { messages, chat_template: "{{ 1 }}" }),
    400,
  );
  assertStringIncludes(error.message, "the model's own template is used");
});
