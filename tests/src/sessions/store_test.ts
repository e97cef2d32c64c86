// SPDX-License-Identifier: Apache-2.0
/** The store over a folder, with the fake engine: what is found, kept, dropped and survived. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FULL_ATTENTION } from "../../../src/engine/engine.ts";
import { EXACT } from "../../../src/engine/provenance.ts";
import { Failure } from "../../../src/errors.ts";
import type { SessionStore } from "../../../src/sessions/store.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { promptOf } from "../../fixtures/requests.ts";
import { contextOf, IDENTITY, inFolder, openStore } from "../../fixtures/sessions.ts";

const engine = () => new FakeEngine({ kvBlocks: 200 });

async function save(
  store: SessionStore,
  fake: FakeEngine,
  name: { scope?: string; id: string },
  tokens: Int32Array,
  { provenance = EXACT, usedAt = Date.now() } = {},
) {
  const context = await contextOf(fake, tokens);
  const saved = { context, tokens, provenance };
  const record = await store.save({ scope: "", ...name }, saved, usedAt);
  fake.freeContext(context);
  return record;
}

const ids = (store: SessionStore, scope = "") => store.list(scope).map(({ id }) => id);
const found = (store: SessionStore, tokens: Int32Array, scope = "") => {
  const match = store.match(scope, tokens);
  return match === null ? null : [match.record.id, match.tokens];
};

/** Two prompts that share `common` tokens. */
function branch(common: number, tokens: number, last: number): Int32Array {
  const prompt = promptOf(tokens);
  prompt.fill(last, common);
  return prompt;
}

Deno.test("a prompt finds the session that has the most of it, all of it or whole blocks", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    await save(store, fake, { id: "short" }, promptOf(300));
    await save(store, fake, { id: "long" }, branch(500, 900, 1));
    assertEquals(found(store, promptOf(1000)), ["long", 384]);
    assertEquals(found(store, branch(500, 1000, 1)), ["long", 900]);
    assertEquals(found(store, branch(500, 600, 1)), ["long", 512]);
    assertEquals(found(store, promptOf(310)), ["short", 300]);
    assertEquals(found(store, branch(300, 310, 5)), ["short", 300]);
    assertEquals(found(store, promptOf(100)), null);
    assertEquals(found(store, promptOf(500, 98)), null);
    assertEquals(found(store, promptOf(1000), "aa"), null);
    store.close();
  }));

Deno.test("of a session longer than this engine's contexts, the whole blocks that fit are used", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    await save(store, fake, { id: "a" }, promptOf(900));
    store.close();
    const brief = new FakeEngine({ context: 500 });
    const { store: other } = await openStore(brief, folder);
    const { record, tokens } = other.match("", promptOf(490))!;
    assertEquals([record.tokens, record.usable, tokens], [900, 384, 384]);
    const { context } = await other.restore(record, tokens);
    assertEquals(brief.contextLength(context), 384);
    other.close();
  }));

Deno.test("another process finds what was saved, most recently used first, and restores it", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    await save(store, fake, { id: "a" }, promptOf(300), { usedAt: 1e12 });
    await save(store, fake, { id: "b", scope: "ab" }, promptOf(200));
    await save(store, fake, { id: "c" }, promptOf(200, 98), { usedAt: 1.1e12 });
    await assertRejects(() => openStore(fake, folder), Failure, "another server uses this folder");
    store.close();

    const other = engine();
    const { store: again, log } = await openStore(other, folder);
    assertEquals([ids(again), ids(again, "ab"), log], [["c", "a"], ["b"], []]);
    const { record, tokens } = again.match("", promptOf(310))!;
    const saved = await again.restore(record, tokens);
    assertEquals([...saved.tokens], [...promptOf(300)]);
    assertEquals(other.contextLength(saved.context), 300);
    assertEquals(saved.provenance, EXACT);
    assertEquals(ids(again)[0], "a");
    const cut = await again.restore(record, 299);
    assertEquals([cut.tokens.length, other.contextLength(cut.context)], [256, 256]);
    again.close();
  }));

Deno.test("what a crash left half written is removed, and other files are left alone", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/a.session.partial`, "half");
    await Deno.writeTextFile(`${folder}/notes.txt`, "mine");
    const { store, log } = await openStore(engine(), folder);
    assertEquals([ids(store), log], [[], []]);
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
    assertEquals(names, [".lock", "notes.txt"]);
    store.close();
  }));

Deno.test("a damaged session, and one of another model, are named, listed and left for their owner", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    await save(store, fake, { id: "good" }, promptOf(300));
    await save(store, fake, { id: "bad" }, promptOf(300, 98));
    store.close();
    await Deno.writeTextFile(`${folder}/bad.session`, "12\n{}");
    const { store: again, log } = await openStore(fake, folder);
    assertEquals(log.length, 1);
    assert(log[0]!.includes("Session bad is left alone"));
    assertEquals(again.find({ scope: "", id: "bad" })!.problem?.includes("damaged"), true);
    assertEquals([found(again, promptOf(400, 98)), found(again, promptOf(400))], [null, [
      "good",
      300,
    ]]);
    await again.delete({ scope: "", id: "bad" });
    assertEquals(ids(again), ["good"]);
    again.close();
    const identity = IDENTITY.slice().fill(1);
    const { store: other, log: said } = await openStore(fake, folder, { identity });
    assert(said[0]!.includes("another model"));
    assertEquals(found(other, promptOf(400)), null);
    other.close();
  }));

Deno.test("beyond its size the folder loses its own sessions, least recently used first, never a named one", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store: first } = await openStore(fake, folder);
    const { bytes } = await save(first, fake, { id: "named" }, promptOf(600, 99), { usedAt: 1 });
    first.close();
    const { store } = await openStore(fake, folder, { limitBytes: 3.5 * bytes });
    await save(store, fake, { id: "auto-1" }, promptOf(600, 1), { usedAt: 3000 });
    await save(store, fake, { id: "auto-2" }, promptOf(600, 2), { usedAt: 2000 });
    await save(store, fake, { id: "auto-3" }, promptOf(600, 3), { usedAt: 4000 });
    assertEquals(ids(store), ["auto-3", "auto-1", "named"]);
    await save(store, fake, { id: "two" }, promptOf(600, 4));
    await save(store, fake, { id: "three" }, promptOf(600, 5));
    assertEquals(ids(store).sort(), ["named", "three", "two"]);
    const error = await assertRejects(
      () => save(store, fake, { id: "four" }, promptOf(600, 6)),
      Failure,
      "--sessions-size",
    );
    assertEquals(error.kind, "storage");
    assertEquals(ids(store).sort(), ["named", "three", "two"]);
    store.close();
  }));

Deno.test("a longer session takes the place of the server's own that it continues", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    await save(store, fake, { id: "auto-1" }, promptOf(600));
    await save(store, fake, { id: "named" }, promptOf(610));
    assertEquals(ids(store), ["named"]);
    await save(store, fake, { id: "auto-2" }, branch(600, 900, 1));
    await save(store, fake, { id: "auto-3" }, branch(600, 900, 2));
    assertEquals(ids(store).sort(), ["auto-2", "auto-3", "named"]);
    await save(store, fake, { id: "auto-4" }, branch(600, 1000, 3), { provenance: "sketch" });
    assertEquals(ids(store).sort(), ["auto-2", "auto-3", "auto-4", "named"]);
    store.close();
  }));

/** A context whose last token sampled, as a sketch with a first position makes it. */
async function sampledContext(fake: FakeEngine, tokens: Int32Array): Promise<number> {
  const context = await contextOf(fake, tokens.subarray(0, -1));
  const attention = { ...FULL_ATTENTION, strategy: "sketch" as const, from: 0, verify: false };
  await fake.step([{
    context,
    tokens: tokens.subarray(-1),
    sampling: null,
    choice: 0,
    promptTokens: 0,
    alternatives: 0,
    attention,
  }]);
  return context;
}

Deno.test("of sampled KV a request may use what is exact, or all of it if it would have made the same", () =>
  inFolder(async (folder) => {
    const fake = engine();
    const { store } = await openStore(fake, folder);
    const tokens = promptOf(600);
    const context = await sampledContext(fake, tokens);
    assertEquals(fake.contextExact(context), 599);
    await store.save({ scope: "", id: "a" }, { context, tokens, provenance: "sketch 1" });
    const useful = (each: SessionStore, provenance?: string) =>
      each.match("", tokens, provenance)?.useful;
    assertEquals([useful(store), useful(store, "sketch 2"), useful(store, "sketch 1")], [
      599,
      599,
      600,
    ]);
    store.close();
    // Another window, for example: nobody would make the same there.
    const { store: other } = await openStore(fake, folder, { sampling: "b" });
    assertEquals([useful(other), useful(other, "sketch 1")], [512, 512]);
    const { record, tokens: worth } = other.match("", tokens)!;
    assertEquals((await other.restore(record, worth)).tokens.length, 512);
    other.close();
  }));
