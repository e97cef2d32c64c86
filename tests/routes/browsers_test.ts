// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { isLocal } from "../../routes/browsers.ts";
import type { AppOptions } from "../../routes/app.ts";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

async function fromPage(origin: string, host: string, options: Partial<AppOptions> = {}) {
  const service = new FakeService();
  const response = await post(
    appOver(service, options),
    CHAT,
    { messages },
    { headers: { origin, host, "content-type": "text/plain" } },
  );
  return { response, service };
}

Deno.test("pages of other origins are refused before anything is computed, with the flag to set", async () => {
  for (const origin of ["https://evil.example", "http://127.0.0.1:9", "null", "nonsense"]) {
    const { response, service } = await fromPage(origin, "127.0.0.1:8080");
    const error = await failed(response, 403);
    assertEquals(error.code, "origin_not_allowed");
    assertStringIncludes(error.message, `--cors ${origin}`);
    assertEquals(service.requests.length, 0);
  }
});

Deno.test("the server's own page may ask, and so may clients that are no pages", async () => {
  for (const host of ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "app.localhost:8080"]) {
    await ok((await fromPage(`http://${host}`, host)).response);
  }
  await ok(await post(appOver(new FakeService()), CHAT, { messages }));
});

Deno.test("a name that was made to point at this machine is refused; a server on the network has names", async () => {
  const host = "rebound.example:8080";
  await failed((await fromPage(`http://${host}`, host)).response, 403);
  await ok((await fromPage(`http://${host}`, host, { localOnly: false })).response);
});

Deno.test("such a name cannot read either, though browsers send no origin then", async () => {
  const read = async (
    host: string,
    agent: string,
    options: Partial<AppOptions> = {},
    more = {},
  ) => {
    const headers = { host, "user-agent": agent, ...more };
    return (await appOver(new FakeService(), options).request("/v1/models", { headers })).status;
  };
  const browser = "Mozilla/5.0 (X11; Linux x86_64)";
  assertEquals(await read("rebound.example:8080", browser), 403);
  assertEquals(await read("127.0.0.1:8080", browser), 200);
  assertEquals(await read("localhost:443", browser, {}, { "x-forwarded-proto": "https" }), 200);
  assertEquals(await read("rebound.example:8080", browser, { localOnly: false }), 200);
  assertEquals(await read("chat.example", "OpenAI/JS 7.0"), 200, "a client through a proxy");
  const proxied = { "x-forwarded-proto": "https" };
  const options = { corsOrigins: ["https://chat.example"] };
  assertEquals(await read("chat.example", browser, options, proxied), 200);
  assertEquals(await read("chat.example", browser, {}, proxied), 403);
});

Deno.test("without --cors no answer may be read by other pages, and no preflight allows it", async () => {
  const app = appOver(new FakeService());
  for (const method of ["GET", "OPTIONS"]) {
    const { headers } = await app.request("/v1/models", { method });
    assertFalse([...headers.keys()].some((name) => name.startsWith("access-control")));
  }
});

Deno.test("with --cors these origins may ask and read, errors too, and no others", async () => {
  const page = "https://app.example";
  const app = appOver(new FakeService(), { corsOrigins: [page], apiKeys: ["k"] });
  const preflight = await app.request(CHAT, {
    method: "OPTIONS",
    headers: {
      origin: page,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    },
  });
  assertEquals(preflight.status, 204);
  assertEquals(preflight.headers.get("access-control-allow-origin"), page);
  assertEquals(
    preflight.headers.get("access-control-allow-headers"),
    "authorization,content-type",
  );
  const headers = { origin: page, authorization: "Bearer k" };
  const answer = await post(app, CHAT, { messages }, { headers });
  assertEquals(answer.headers.get("access-control-allow-origin"), page);
  assertStringIncludes(answer.headers.get("access-control-expose-headers")!, "x-request-id");
  await ok(answer);
  const wrong = await post(app, CHAT, { messages }, { headers: { origin: page } });
  assertEquals(wrong.headers.get("access-control-allow-origin"), page);
  await failed(wrong, 401);
  const other = { ...headers, origin: "https://other.example" };
  const refused = await post(app, CHAT, { messages }, { headers: other });
  assertEquals(refused.headers.get("access-control-allow-origin"), null);
  await failed(refused, 403);
});

Deno.test("with --cors * every page may ask", async () => {
  const { response } = await fromPage("https://any.example", "h", { corsOrigins: ["*"] });
  assertEquals(response.headers.get("access-control-allow-origin"), "*");
  await ok(response);
});

Deno.test("every answer tells browsers not to guess its type", async () => {
  const app = appOver(new FakeService());
  for (const path of ["/", "/health", "/nowhere"]) {
    assertEquals((await app.request(path)).headers.get("x-content-type-options"), "nosniff");
  }
});

Deno.test("addresses of this machine only are known", () => {
  for (const address of ["127.0.0.1", "127.1.2.3", "::1", "localhost"]) assert(isLocal(address));
  for (const address of ["0.0.0.0", "::", "10.0.0.1", "127.evil.example"]) {
    assertFalse(isLocal(address), address);
  }
});
