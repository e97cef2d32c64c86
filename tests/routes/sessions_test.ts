// SPDX-License-Identifier: Apache-2.0
/** `/sessions` over a service with a fake engine: names, scopes, statuses. */
import { assert, assertEquals } from "@std/assert";
import { createApp } from "../../routes/app.ts";
import { ModelService } from "../../src/service.ts";
import { FakeEngine } from "../fixtures/fake_engine.ts";
import { FakeText } from "../fixtures/fake_text.ts";
import { inFolder, openStore } from "../fixtures/sessions.ts";
import { type App, failed, type Json, ok, post } from "./client.ts";

const KEYS = ["first key", "second key"];
const as = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

/** Serves a folder of sessions, or none, with two API keys. */
async function serving(
  folder: string | null,
  use: (app: App) => Promise<void>,
  how: "drained" | "killed" = "drained",
): Promise<void> {
  const engine = new FakeEngine();
  const service = new ModelService();
  const opened = folder === null ? null : await openStore(engine, folder);
  const sessions = opened?.store ?? null;
  service.ready({ engine, text: new FakeText(), model: { id: "fake" }, sessions });
  await use(createApp(service, { version: "1", apiKeys: KEYS, log: () => {} }));
  if (how === "drained") await service.drain(1000);
  await service.close();
  assertEquals(engine.violations, []);
}

function ask(app: App, prompt: string | string[], session?: string, key = KEYS[0]!) {
  const sounder = session === undefined ? {} : { sounder: { session } };
  const body = { prompt, max_tokens: 8, temperature: 0, ignore_eos: true, ...sounder };
  return post(app, "/v1/completions", body, as(key));
}

const DOCUMENT = "So the keeper lit the lamp. ".repeat(40);
const call = (app: App, path: string, method = "GET", key = KEYS[0]!) =>
  app.request(path, { method, ...as(key) });
const cachedTokens = (answer: Json) => answer.usage.prompt_tokens_details.cached_tokens;

Deno.test("a session is named by a request, saved, shown, listed, loaded and deleted", () =>
  inFolder(async (folder) => {
    await serving(folder, async (app) => {
      await ok(await ask(app, DOCUMENT, "talk"));
      const saved = await ok(await call(app, "/sessions/talk", "POST"));
      assertEquals(saved, {
        id: "talk",
        object: "session",
        tokens: DOCUMENT.length + 7,
        bytes: saved.bytes,
        saved_at: saved.saved_at,
        used_at: saved.used_at,
        problem: null,
      });
      assert(Math.abs(saved.saved_at - Date.now() / 1000) < 10 && saved.bytes > 0);
      assertEquals(await ok(await call(app, "/sessions/talk")), saved);
      assertEquals(await ok(await call(app, "/sessions")), { object: "list", data: [saved] });
    }, "killed");
    await serving(folder, async (app) => {
      assertEquals((await ok(await call(app, "/sessions/talk/load", "POST"))).id, "talk");
      const answer = await ok(await ask(app, `${DOCUMENT}!`));
      assertEquals(cachedTokens(answer), DOCUMENT.length);
      const gone = { id: "talk", object: "session.deleted", deleted: true };
      assertEquals(await ok(await call(app, "/sessions/talk", "DELETE")), gone);
      await failed(await call(app, "/sessions/talk"), 404);
      assertEquals((await ok(await call(app, "/sessions"))).data, []);
    });
  }));

Deno.test("after a restart a prompt finds its beginning on disk, under its own key only", () =>
  inFolder(async (folder) => {
    await serving(folder, async (app) => void await ok(await ask(app, DOCUMENT)));
    await serving(folder, async (app) => {
      const other = await ok(await ask(app, `${DOCUMENT}?`, undefined, KEYS[1]!));
      assertEquals(cachedTokens(other), 0);
      const own = await ok(await ask(app, `${DOCUMENT}?`));
      assertEquals(cachedTokens(own), DOCUMENT.length);
      const { data } = await ok(await call(app, "/sessions"));
      assert(data.length === 1 && data[0].id.startsWith("auto-"));
      assertEquals((await ok(await call(app, "/sessions", "GET", KEYS[1]))).data, []);
      await failed(await call(app, `/sessions/${data[0].id}`, "GET", KEYS[1]), 404);
      await failed(await call(app, `/sessions/${data[0].id}`, "DELETE", KEYS[1]), 404);
    });
  }));

Deno.test("what is wrong with a session's name or state is said in OpenAI's envelope", () =>
  inFolder(async (folder) => {
    await serving(folder, async (app) => {
      for (const bad of ["..%2Fetc", ".lock", "a%00b", "x".repeat(65), "a@b", "auto-1"]) {
        const { message } = await failed(await call(app, `/sessions/${bad}`, "POST"), 400);
        assert(message.startsWith("id must"), message);
      }
      for (const bad of ["", "../x", "auto-1"]) {
        const error = await failed(await ask(app, "hello", bad), 400);
        assertEquals(error.param, "sounder.session");
      }
      const both = await failed(await ask(app, ["hello", "you"], "talk"), 400);
      assertEquals(both.param, "sounder.session");
      assertEquals(
        (await failed(await call(app, "/sessions/none", "POST"), 404)).code,
        "not_found",
      );
      await failed(await call(app, "/sessions/none/load", "POST"), 404);
      await failed(await call(app, "/sessions/none", "DELETE"), 404);
      await failed(await call(app, "/sessions", "POST"), 405);
      await failed(await app.request("/sessions"), 401);
    });
  }));

Deno.test("a session that turned out to be damaged is shown with its problem and cannot be loaded", () =>
  inFolder(async (folder) => {
    await serving(folder, async (app) => {
      await ok(await ask(app, DOCUMENT, "talk"));
      await ok(await call(app, "/sessions/talk", "POST"));
    }, "killed");
    for await (const { name } of Deno.readDir(folder)) {
      if (name.startsWith("talk")) await Deno.writeTextFile(`${folder}/${name}`, "12\n{}");
    }
    await serving(folder, async (app) => {
      const { problem } = await ok(await call(app, "/sessions/talk"));
      assert(problem.includes("damaged"));
      const error = await failed(await call(app, "/sessions/talk/load", "POST"), 409);
      assertEquals([error.message, error.code], [problem, "conflict"]);
      assertEquals(cachedTokens(await ok(await ask(app, DOCUMENT))), 0);
    });
  }));

Deno.test("a server without --sessions says so", async () => {
  await serving(null, async (app) => {
    const { message } = await failed(await call(app, "/sessions"), 404);
    assert(message.includes("--sessions"));
    const error = await failed(await ask(app, "hello", "talk"), 400);
    assertEquals(error.param, "sounder.session");
    assert(error.message.includes("--sessions"));
    await ok(await ask(app, "hello"));
  });
});
