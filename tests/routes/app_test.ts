// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { done, FakeService, gate, text } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post, serving } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

Deno.test("unknown paths are 404 with the envelope, and near misses get a hint", async () => {
  const app = appOver(new FakeService());
  const error = await failed(await app.request("/nowhere"), 404);
  assertEquals(error, {
    message: "There is nothing at GET /nowhere",
    type: "invalid_request_error",
    param: null,
    code: "not_found",
  });
  const hint = await failed(await post(app, "/chat/completions", {}), 404);
  assertStringIncludes(hint.message, "did you mean /v1/chat/completions?");
  await failed(await app.request("/v1/models/other"), 404);
  await failed(await app.request(`/${"x".repeat(5000)}`), 404);
});

Deno.test("wrong methods are 405 with Allow; OPTIONS and HEAD are answered", async () => {
  const app = appOver(new FakeService());
  const wrong = await app.request(CHAT);
  assertEquals(wrong.headers.get("allow"), "POST, OPTIONS");
  assertEquals((await failed(wrong, 405)).message, `${CHAT} takes POST, not GET`);
  assertEquals((await post(app, "/v1/models", {})).status, 405);
  const options = await app.request("/v1/models", { method: "OPTIONS" });
  assertEquals([options.status, options.headers.get("allow")], [204, "GET, HEAD, OPTIONS"]);
  const head = await app.request("/health", { method: "HEAD" });
  assertEquals([head.status, await head.text()], [200, ""]);
});

Deno.test("a trailing slash changes nothing", async () => {
  await ok(await post(appOver(new FakeService()), `${CHAT}/`, { messages }));
});

Deno.test("bodies that are no JSON object are 400", async () => {
  const app = appOver(new FakeService());
  const cases: [BodyInit, string][] = [
    ["", "is empty"],
    ["{", "isn't valid JSON"],
    ["{'a': 1}", "isn't valid JSON"],
    ['{"a": NaN}', "isn't valid JSON"],
    ["[]", "must be a JSON object"],
    ["null", "must be a JSON object"],
    ['"x"', "must be a JSON object"],
    [Uint8Array.of(0x22, 0xff, 0x22), "isn't valid UTF-8"],
    ["[".repeat(100_000), "nests deeper than 64"],
    ['{"a":'.repeat(65), "nests deeper than 64"],
    [`{"a":[${"[],".repeat(500_000)}1]}`, "more than 500000 keys"],
  ];
  for (const [body, part] of cases) {
    const response = await app.request(CHAT, { method: "POST", body });
    const error = await failed(response, 400);
    assertStringIncludes(error.message, part);
  }
});

Deno.test("brackets in strings are no nesting", async () => {
  const content = `${"[".repeat(100)}\\"${"{".repeat(100)}`;
  await ok(await post(appOver(new FakeService()), CHAT, { messages: [{ role: "user", content }] }));
});

Deno.test("JSON is read whatever its content type, and may start with a BOM", async () => {
  const app = appOver(new FakeService());
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "application/json"]) {
    const headers = { "content-type": type };
    await ok(await post(app, CHAT, { messages }, { headers }));
  }
  await ok(await post(app, CHAT, `\ufeff${JSON.stringify({ messages })}`));
});

Deno.test("a body over the limit is 413, with and without a stated length", async () => {
  const app = appOver(new FakeService(), { maxBodyBytes: 1000 });
  const long = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(2000) }] });
  const stated = await app.request(CHAT, {
    method: "POST",
    body: long,
    headers: { "content-length": String(long.length) },
  });
  assertStringIncludes((await failed(stated, 413)).message, "1000 bytes");
  const chunked = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(100)),
  });
  await failed(await app.request(CHAT, { method: "POST", body: chunked }), 413);
});

Deno.test("413 and 400 reach a client through a socket", async () => {
  const app = appOver(new FakeService(), { maxBodyBytes: 1000 });
  await serving(app, async (base) => {
    const url = `${base}${CHAT}`;
    await failed(await fetch(url, { method: "POST", body: "x".repeat(5000) }), 413);
    let left = 50;
    const chunked = new ReadableStream<Uint8Array>({
      pull: (controller) =>
        left-- > 0 ? controller.enqueue(new Uint8Array(100)) : controller.close(),
    });
    await failed(await fetch(url, { method: "POST", body: chunked }), 413);
    await failed(await fetch(url, { method: "POST", body: "{" }), 400);
    await ok(await fetch(url, { method: "POST", body: JSON.stringify({ messages }) }));
  });
});

Deno.test("with a key, requests without it are 401; health and version stay open", async () => {
  const app = appOver(new FakeService(), { apiKeys: ["säcret"] });
  for (
    const authorization of [
      "",
      "Bearer",
      "Bearer x",
      "Basic säcret",
      "Bearer säcre",
      "Bearer säcrett",
    ]
  ) {
    const headers = new Headers();
    if (authorization !== "") headers.set("authorization", latin1(authorization));
    const response = await post(app, CHAT, { messages }, { headers });
    assertMatch(response.headers.get("www-authenticate")!, /^Bearer/);
    assertMatch(response.headers.get("x-request-id")!, /^req_/);
    const error = await failed(response, 401);
    assertEquals([error.type, error.code], ["invalid_request_error", "invalid_api_key"]);
  }
  for (const path of ["/health", "/ping", "/version", "/"]) {
    assertEquals((await app.request(path)).status, 200);
  }
  assertEquals((await app.request("/v1/models")).status, 401);
  assertEquals((await app.request("/nowhere")).status, 401);
});

/** Header values carry bytes: UTF-8 as one character a byte. */
function latin1(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

Deno.test("the right key is let in", async () => {
  for (const apiKey of ["sk-secret", "säcret"]) {
    const app = appOver(new FakeService(), { apiKeys: [apiKey] });
    for (const authorization of [`Bearer ${latin1(apiKey)}`, `bearer  ${latin1(apiKey)}`]) {
      await ok(await post(app, CHAT, { messages }, { headers: { authorization } }));
    }
  }
});

Deno.test("x-request-id: a sane one is echoed, another replaced", async () => {
  const app = appOver(new FakeService());
  const id = async (given: string) => {
    const response = await app.request("/health", { headers: { "x-request-id": given } });
    return response.headers.get("x-request-id");
  };
  assertEquals(await id("trace-1.2:3_x"), "trace-1.2:3_x");
  for (const bad of ["a b", "x".repeat(129), "<script>", "ü"]) {
    assertMatch((await id(bad))!, /^req_[0-9a-f]{32}$/);
  }
});

Deno.test("a bug is a 500 that keeps its words in the log, under the request's id", async () => {
  const logged: string[] = [];
  const service = new FakeService();
  service.refusals.set(0, new TypeError("secret detail"));
  const app = appOver(service, { log: (line) => logged.push(line) });
  const response = await post(app, CHAT, { messages }, { headers: { "x-request-id": "abc" } });
  const error = await failed(response, 500);
  assertEquals(error.type, "server_error");
  assertStringIncludes(error.message, "abc");
  assert(!error.message.includes("secret"));
  assertEquals(logged.length, 1);
  assertStringIncludes(logged[0]!, "abc: TypeError: secret detail");
});

Deno.test("while loading: health says how far, requests are 503 with Retry-After", async () => {
  const service = new FakeService();
  service.current = { ...service.current, state: "loading", progress: 0.25 };
  const app = appOver(service);
  const health = await app.request("/health");
  assertEquals(health.status, 503);
  assertEquals(health.headers.get("retry-after"), "1");
  assertEquals(await health.json(), { status: "loading", progress: 0.25 });
  for (const path of [CHAT, "/v1/completions", "/tokenize", "/detokenize"]) {
    const response = await post(app, path, "no JSON at all");
    assertEquals(response.headers.get("retry-after"), "3");
    assertEquals((await failed(response, 503)).code, "unavailable");
  }
  await failed(await app.request("/v1/models"), 503);
  assertEquals(await ok(await app.request("/version")), { version: "1.2.3" });
});

Deno.test("health: ready, draining, failed", async () => {
  const service = new FakeService();
  const app = appOver(service);
  const { kvBlocks, kvBlocksFree, running, waiting } = service.status();
  const expected = {
    status: "ok",
    running,
    waiting,
    kv_blocks: kvBlocks,
    kv_blocks_free: kvBlocksFree,
  };
  assertEquals(await ok(await app.request("/health")), expected);
  assertEquals(await ok(await app.request("/ping")), expected);
  service.current = { ...service.current, state: "draining" };
  const draining = await app.request("/health");
  assertEquals([draining.status, await draining.json()], [503, { status: "draining" }]);
  service.current = { ...service.current, state: "failed", reason: "a tensor is missing" };
  const broken = await app.request("/health");
  assertEquals(broken.status, 503);
  assertEquals(await broken.json(), { status: "failed", reason: "a tensor is missing" });
});

Deno.test("GET / names the API", async () => {
  const text = await (await appOver(new FakeService()).request("/")).text();
  assertStringIncludes(text, "Sounder 1.2.3");
  assertStringIncludes(text, "/v1");
});

Deno.test("models: the list, one by an id with a slash, aliases", async () => {
  const app = appOver(new FakeService(), { modelAliases: ["gpt-4o", "fake/model"] });
  const entry = (id: string) => ({
    id,
    object: "model",
    created: 1_700_000_000,
    owned_by: "sounder",
    root: "fake/model",
    parent: null,
    max_model_len: 4096,
    context_length: 4096,
  });
  assertEquals(await ok(await app.request("/v1/models")), {
    object: "list",
    data: [entry("fake/model"), entry("gpt-4o")],
  });
  assertEquals(await ok(await app.request("/v1/models/fake/model")), entry("fake/model"));
  assertEquals(await ok(await app.request("/v1/models/fake%2Fmodel")), entry("fake/model"));
  const error = await failed(await app.request("/v1/models/other/model"), 404);
  assertEquals(error.code, "model_not_found");
});

Deno.test("a client that closes its socket cancels streams and whole answers", async () => {
  for (const stream of [true, false]) {
    const service = new FakeService(async function* () {
      await gate().opened;
      yield done();
    });
    await serving(appOver(service), async (base) => {
      const client = new AbortController();
      const answer = fetch(`${base}${CHAT}`, {
        method: "POST",
        body: JSON.stringify({ messages, stream }),
        signal: client.signal,
      }).then((response) => response.text()).catch(() => "left");
      while (service.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      client.abort();
      assertEquals(await answer, "left");
      await service.firstCancel;
      assertEquals(service.cancelled.length, 1);
    });
  }
});

Deno.test("with pings off the headers still go out before the first token", async () => {
  const first = gate();
  const service = new FakeService(async function* () {
    await first.opened;
    yield text(0, "late");
  });
  await serving(appOver(service, { pingSeconds: 0 }), async (base) => {
    const body = JSON.stringify({ messages, stream: true });
    const response = await fetch(`${base}${CHAT}`, { method: "POST", body });
    assertEquals(response.status, 200);
    first.open();
    assertStringIncludes(await response.text(), '"code":"unavailable"');
  });
});

Deno.test("a client that stops reading its socket is not written ahead of without bound", async () => {
  let made = 0;
  const service = new FakeService(function* () {
    for (; made < 2000; made++) yield text(0, "x".repeat(100_000));
    yield done();
  });
  await serving(appOver(service), async (base) => {
    const { hostname, port } = new URL(base);
    const socket = await Deno.connect({ hostname, port: Number(port) });
    const body = JSON.stringify({ messages, stream: true });
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n`;
    await socket.write(new TextEncoder().encode(head + body));
    await socket.read(new Uint8Array(1000));
    // Until the buffers of both sides are full.
    for (let before = -1; before !== made;) {
      before = made;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert(made > 0 && made < 500, `${made} of 2000 pieces were made for a reader that stopped`);
    socket.close();
    await service.firstCancel;
  });
});
