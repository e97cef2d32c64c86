// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

/** The cache scopes of a request with each of these keys. */
async function scopes(apiKeys: string[], given: string[], sharedCache = false): Promise<string[]> {
  const service = new FakeService();
  const app = appOver(service, { apiKeys, sharedCache });
  for (const key of given) {
    await ok(await post(app, CHAT, { messages }, { headers: { authorization: `Bearer ${key}` } }));
  }
  return service.requests.map((request) => request.cacheScope);
}

Deno.test("any of several keys is let in, in OpenAI's header or in Anthropic's", async () => {
  const app = appOver(new FakeService(), { apiKeys: ["one", "two"] });
  for (const key of ["one", "two"]) {
    for (const headers of [{ authorization: `Bearer ${key}` }, { "x-api-key": key }]) {
      await ok(await post(app, CHAT, { messages }, { headers }));
    }
  }
  for (const headers of [{ "x-api-key": "three" }, { "x-api-key": "one, two" }]) {
    await failed(await post(app, CHAT, { messages }, { headers }), 401);
  }
});

Deno.test("each key has a cache of its own, the same after a restart, whose name hides the key", async () => {
  const [one, two, again] = await scopes(["one", "two"], ["one", "two", "one"]);
  assertEquals(again, one);
  assertNotEquals(one, two);
  assertMatch(one!, /^[0-9a-f]{32}$/);
  assertEquals(await scopes(["two", "one"], ["one", "two"]), [one, two]);
});

Deno.test("without keys, and with --shared-cache, all requests share one cache", async () => {
  assertEquals(await scopes([], ["one", "two"]), ["", ""]);
  assertEquals(await scopes(["one", "two"], ["one", "two"], true), ["", ""]);
});

Deno.test("metrics need the key, liveness and readiness don't", async () => {
  const app = appOver(new FakeService(), { apiKeys: ["one"] });
  for (const path of ["/health", "/health/live", "/health/ready"]) {
    assertEquals((await app.request(path)).status, 200);
  }
  await failed(await app.request("/metrics"), 401);
});
