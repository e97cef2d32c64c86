// SPDX-License-Identifier: Apache-2.0
/** Saved contexts through the bindings: what comes back, what is refused, and that steps go on meanwhile. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { GREEDY, type SavedPlace } from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";
import { FAMILIES, TestContext, TestEngine } from "../fixtures/native_engine.ts";

const MODEL = `${FAMILIES}llama2_mha`;
const TOKENS = Array.from({ length: 300 }, (_, i) => 3 + (i * 7) % 50);
const SETTINGS = { kvBlocks: 40, context: 1024 };
const identity = new Uint8Array(64).fill(5);

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function greedy(context: TestContext, first: number, count: number): Promise<number[]> {
  const tokens = [first];
  for (let i = 0; i < count; i++) {
    tokens.push((await context.step([tokens.at(-1)!], { sampling: GREEDY })).token);
  }
  return tokens;
}

function one(folder: string): SavedPlace {
  return { path: `${folder}/one`, identity };
}

Deno.test("a context that was saved goes on in another engine as in the first", () =>
  inFolder(async (folder) => {
    await using first = await TestEngine.open(MODEL, SETTINGS);
    using context = first.context();
    await context.append(TOKENS, 128);
    await first.engine.saveContext(context.id, 300, one(folder), "Grüße");
    const expected = await greedy(context, 9, 12);

    await using second = await TestEngine.open(MODEL, SETTINGS);
    const saved = await second.engine.describeSaved(one(folder));
    assertEquals([saved.length, saved.exact, saved.note], [300, 300, "Grüße"]);
    assertEquals([...saved.tokens], TOKENS);
    const { size, mode } = await Deno.stat(`${folder}/one`);
    assertEquals([saved.bytes, mode! & 0o777], [size, 0o600]);
    using restored = new TestContext(
      second.engine,
      await second.engine.restoreContext(one(folder)),
    );
    assertEquals(second.engine.contextLength(restored.id), 300);
    assertEquals(await greedy(restored, 9, 12), expected);
    using cut = new TestContext(
      second.engine,
      await second.engine.restoreContext(one(folder), 299),
    );
    assertEquals(second.engine.contextLength(cut.id), 256);
  }));

Deno.test("steps run while a context is saved, the same one's among them", () =>
  inFolder(async (folder) => {
    await using model = await TestEngine.open(MODEL, SETTINGS);
    using context = model.context();
    await context.append(TOKENS, 128);
    using twin = context.fork(300);
    const expected = await greedy(twin, 9, 20);
    const save = model.engine.saveContext(context.id, 300, one(folder), "");
    assertEquals(await greedy(context, 9, 20), expected);
    await save;
    assertEquals((await model.engine.describeSaved(one(folder))).length, 300);
  }));

Deno.test("what cannot be used is a failure that says why", () =>
  inFolder(async (folder) => {
    await using model = await TestEngine.open(MODEL, SETTINGS);
    const { engine } = model;
    const place = one(folder);
    using context = model.context();
    await context.append(TOKENS, 128);
    await assertRejects(() => engine.restoreContext(place), Failure, "No such file or directory");
    await engine.saveContext(context.id, 300, place, "");
    const other = { ...place, identity: new Uint8Array(64) };
    await assertRejects(() => engine.restoreContext(other), Failure, "saved with another model");
    await using yarn = await TestEngine.open(`${FAMILIES}qwen3_qk_norm`, SETTINGS);
    await assertRejects(() => yarn.engine.describeSaved(place), Failure, "it was saved with");
    const bytes = await Deno.readFile(place.path);
    bytes[bytes.length - 100]! ^= 1;
    await Deno.writeFile(place.path, bytes);
    await assertRejects(() => engine.restoreContext(place), Failure, "block 2 of 3 is damaged");
    await Deno.writeFile(place.path, bytes.subarray(0, 100));
    await assertRejects(() => engine.describeSaved(place), Failure, "ends inside its header");
    const nowhere = { ...place, path: `${folder}/none/one` };
    await assertRejects(() => engine.saveContext(context.id, 300, nowhere, ""), Failure, "No such");
    assertEquals(engine.usage().kvBlocksFree, 40 - 3);
  }));

Deno.test("that there is no memory for a restore is another kind of failure than a bad file", () =>
  inFolder(async (folder) => {
    await using model = await TestEngine.open(MODEL, SETTINGS);
    using context = model.context();
    await context.append(TOKENS, 128);
    await model.engine.saveContext(context.id, 300, one(folder), "");
    await using full = await TestEngine.open(MODEL, { ...SETTINGS, kvBlocks: 2 });
    const restore = () => full.engine.restoreContext(one(folder));
    assertEquals((await assertRejects(restore, Failure, "3 KV blocks; 2 of 2")).kind, "memory");
    await using single = await TestEngine.open(MODEL, { ...SETTINGS, maxContexts: 1 });
    using _only = single.context();
    const again = () => single.engine.restoreContext(one(folder));
    assertEquals((await assertRejects(again, Failure, "contexts are in use")).kind, "memory");
    await using brief = await TestEngine.open(MODEL, { ...SETTINGS, context: 299 });
    const cut = await brief.engine.restoreContext(one(folder));
    assertEquals(brief.engine.contextLength(cut), 256);
  }));

Deno.test("one save or restore runs at a time; closing the engine ends it", () =>
  inFolder(async (folder) => {
    const model = await TestEngine.open(MODEL, SETTINGS);
    using stack = new DisposableStack();
    const context = model.context();
    await context.append(TOKENS, 128);
    const saves = await Promise.allSettled(
      Array.from(
        { length: 8 },
        (_, i) =>
          model.engine.saveContext(context.id, 300, { ...one(folder), path: `${folder}/${i}` }, ""),
      ),
    );
    for (const save of saves) {
      if (save.status === "rejected") assert(/one at a time/.test(String(save.reason)));
    }
    assert(saves.some((save) => save.status === "fulfilled"));
    const last = model.engine.saveContext(context.id, 300, one(folder), "").catch(() => {});
    await model.engine.close();
    await last;
    stack.dispose();
    for await (const { name } of Deno.readDir(folder)) assert(!name.endsWith(".partial"), name);
  }));

Deno.test({
  name: "a path without permission is refused before native code opens it",
  permissions: { read: true, ffi: true, env: true, write: false },
  fn: async () => {
    await using model = await TestEngine.open(MODEL, SETTINGS);
    using context = model.context();
    const place = { path: "/tmp/sounder_not_allowed", identity };
    await assertRejects(
      () => model.engine.saveContext(context.id, 0, place, ""),
      Failure,
      "start with --allow-write=/tmp/sounder_not_allowed",
    );
  },
});
