// SPDX-License-Identifier: Apache-2.0
// Metrics, log and traces of the server as a user starts it, under its narrow permissions.
import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";

const SECRET = "what did the zebra say";

async function ask(url: string, headers: Record<string, string> = {}): Promise<Response> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify({ max_tokens: 5, messages: [{ role: "user", content: SECRET }] }),
  });
  assertEquals(response.status, 200);
  await response.text();
  return response;
}

async function status(url: string): Promise<number> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.status;
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    assert(performance.now() < deadline, "it did not come");
    await new Promise((done) => setTimeout(done, 20));
  }
}

Deno.test("metrics, health and a JSON log of a running server", async () => {
  await using server = new TestServer(["--memory", "1GiB", "--log", "json"]);
  const url = await server.url();
  assertEquals(await status(`${url}/health/live`), 200, "alive while it loads");
  await server.ready();
  assertEquals(await status(`${url}/health/ready`), 200);
  const response = await ask(url);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const value = (name: string) =>
    Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, "m").exec(metrics)![1]);
  assertEquals(value("vllm:generation_tokens_total"), 5);
  assertEquals(value("vllm:time_to_first_token_seconds_count"), 1);
  assert(value("vllm:time_to_first_token_seconds_sum") > 0);
  assert(value("sounder_step_seconds_count") >= 5);

  const requests = () =>
    server.log.split("\n").slice(0, -1).map((line) => JSON.parse(line))
      .filter((line) => line.event === "request");
  await until(() => requests().length > 0);
  assertEquals(requests().map((line) => line.id), [response.headers.get("x-request-id")]);
  assertEquals(requests()[0].completion_tokens, 5);
  assertFalse(server.log.includes("zebra"));
});

/** Takes what the server's tracing sends. */
function sink() {
  const spans: { name: string; traceId: string; attributes: unknown[] }[] = [];
  let calls = 0;
  const http = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    calls++;
    const body = await request.json();
    for (const resource of body.resourceSpans ?? []) {
      for (const scope of resource.scopeSpans) spans.push(...scope.spans);
    }
    return Response.json({});
  });
  const environment = {
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${http.addr.port}`,
    OTEL_BSP_SCHEDULE_DELAY: "50",
  };
  return { spans, http, environment, calls: () => calls };
}

Deno.test("with OTEL_DENO a request is a span of the caller's trace that knows route and tokens", async () => {
  const { spans, http, environment } = sink();
  await using _server = http;
  await using server = new TestServer(["--memory", "1GiB"], { OTEL_DENO: "true", ...environment });
  const trace = "0af7651916cd43dd8448eb211c80319c";
  await ask(await server.ready(), { traceparent: `00-${trace}-b7ad6b7169203331-01` });
  await until(() => spans.some((span) => span.traceId === trace));
  const span = spans.find((one) => one.traceId === trace)!;
  assertEquals(span.name, "POST /v1/chat/completions");
  const attributes = JSON.stringify(span.attributes);
  assertMatch(attributes, /"http\.route","value":\{"stringValue":"\/v1\/chat\/completions"/);
  assertMatch(attributes, /"gen_ai\.usage\.output_tokens","value":\{"\w+":"?5/);
  assertStringIncludes(attributes, '"gen_ai.request.model"');
  assertFalse(JSON.stringify(spans).includes("zebra"));
});

Deno.test("without OTEL_DENO nothing is sent, whatever else is set", async () => {
  const { http, environment, calls } = sink();
  await using _server = http;
  {
    await using server = new TestServer(["--memory", "1GiB"], environment);
    await ask(await server.ready());
  }
  assertEquals(calls(), 0);
});
