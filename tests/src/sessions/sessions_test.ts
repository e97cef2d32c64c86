// SPDX-License-Identifier: Apache-2.0
/** Sessions between a scheduler's prefix cache and a store, over the fake engine. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { promptOf } from "../../fixtures/requests.ts";
import { inFolder } from "../../fixtures/sessions.ts";
import { Kept, spec } from "../scheduler/jobs.ts";
import { alone } from "../scheduler/world.ts";
import { pause, start, until, type World } from "./world.ts";

const ids = ({ sessions }: World, scope = "") => sessions.list(scope).map(({ id }) => id);

/** A prompt that goes on after another one and its answer. */
function nextTurn(prompt: Int32Array, answer: Kept): Int32Array {
  return Int32Array.from([...prompt, ...answer.of(0), 7, 8, 9]);
}

Deno.test("after a restart the next turn of a conversation runs only what is new, with the same tokens", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    const prompt = promptOf(1000);
    const answer = await first.ask({ prompt });
    await first.stop();
    const second = await start(folder);
    const turn = nextTurn(prompt, answer);
    const output = await second.ask({ prompt: turn, maxTokens: 700 });
    assertEquals(output.cachedTokens, 1007);
    assertEquals([output.of(0)], await alone({ prompt: turn, maxTokens: 700 }));
    await second.stop();
    const third = await start(folder);
    assertEquals(third.sessions.list("").map(({ tokens }) => tokens), [turn.length + 699]);
    await third.stop();
  }));

Deno.test("a request with what memory has already reads nothing from disk", () =>
  inFolder(async (folder) => {
    const world = await start(folder);
    const prompt = promptOf(1000);
    const answer = await world.ask({ prompt }, "talk");
    await world.sessions.save({ scope: "", id: "talk" });
    const before = world.engine.transfers;
    await world.ask({ prompt: nextTurn(prompt, answer) });
    assertEquals(world.engine.transfers, before);
    await world.stop();
  }));

Deno.test("requests for one session that arrive together restore it once", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    await first.ask({ prompt: promptOf(1000) });
    await first.stop();
    const second = await start(folder);
    const asked = [1, 2, 3, 4].map((last) => {
      const prompt = promptOf(1010);
      prompt.fill(last, 1000);
      return second.ask({ prompt });
    });
    const outputs = await Promise.all(asked);
    assertEquals(outputs.map(({ cachedTokens }) => cachedTokens), [1000, 1000, 1000, 1000]);
    const { restores, restoredTokens, saves, failures } = second.sessions.figures();
    assertEquals([second.engine.transfers, restores, restoredTokens], [1, 1, 1007]);
    assertEquals([saves, failures], [0, 0]);
    await second.stop();
  }));

Deno.test("a named session is saved on demand, survives a kill, and belongs to its scope", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    const name = { scope: "aa", id: "talk" };
    const fields = { prompt: promptOf(700), cacheScope: "aa" };
    await first.ask(fields, "talk");
    const { tokens, id } = await first.sessions.save(name);
    assertEquals([tokens, id, ids(first, "aa"), ids(first)], [707, "talk", ["talk"], []]);
    await first.stop("killed");
    const second = await start(folder);
    assertEquals((await second.ask(fields)).cachedTokens, 699);
    assertEquals((await second.ask({ ...fields, cacheScope: "bb" })).cachedTokens, 0);
    assertThrows(() => second.sessions.find({ scope: "bb", id: "talk" }), Failure, "no session");
    await second.sessions.delete(name);
    assertEquals(ids(second, "aa"), []);
    await second.stop("killed");
  }));

Deno.test("saving says what is the matter: nobody named it, its request runs, the disk is full", () =>
  inFolder(async (folder) => {
    const world = await start(folder);
    const name = { scope: "", id: "talk" };
    const failure = async (work: Promise<unknown>) =>
      (await assertRejects(() => work, Failure)).kind;
    assertEquals(await failure(world.sessions.save(name)), "not_found");
    const prompt = promptOf(700);
    world.sessions.pin(name, prompt);
    assertEquals(await failure(world.sessions.save(name)), "conflict");
    await world.ask({ prompt }, "talk");
    await Deno.mkdir(`${folder}/talk.session.partial`);
    assertEquals(await failure(world.sessions.save(name)), "storage");
    await Deno.remove(`${folder}/talk.session.partial`);
    assertEquals((await world.sessions.save(name)).tokens, 707);
    await assertRejects(() => world.sessions.save({ scope: "", id: "../x" }), Failure, "letters");
    assertThrows(() => world.sessions.pin({ scope: "", id: "auto-1" }, prompt), Failure, "own");
    await world.stop();
  }));

Deno.test("what is being saved already when it is asked for is saved after that", () =>
  inFolder(async (folder) => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    const world = await start(folder, { duringTransfer: () => gate });
    await world.ask({ prompt: promptOf(700) }, "talk");
    const name = { scope: "", id: "talk" };
    const saves = [world.sessions.save(name), world.sessions.save(name)];
    await pause();
    open();
    assertEquals((await Promise.all(saves)).map(({ tokens }) => tokens), [707, 707]);
    await world.stop();
  }));

Deno.test("a session is loaded before it is asked for; one that cannot be used says why", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    await first.ask({ prompt: promptOf(700) }, "talk");
    await first.stop();
    const second = await start(folder);
    const name = { scope: "", id: "talk" };
    assertEquals((await second.sessions.load(name)).tokens, 707);
    assertEquals(second.engine.transfers, 1);
    assertEquals((await second.ask({ prompt: promptOf(700) })).cachedTokens, 699);
    assertEquals(second.engine.transfers, 1);
    await second.stop("killed");
    const third = await start(folder);
    await Deno.writeTextFile(`${folder}/talk.session`, "broken");
    const error = await assertRejects(() => third.sessions.load(name), Failure, "damaged");
    assertEquals(error.kind, "conflict");
    assertEquals((await third.ask({ prompt: promptOf(700) })).cachedTokens, 0);
    assert(third.sessions.find(name).problem !== null);
    await third.stop("killed");
  }));

Deno.test("a damaged file costs a request nothing but the time that it would have saved", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    const prompt = promptOf(1000);
    const answer = await first.ask({ prompt });
    await first.stop();
    const second = await start(folder);
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".session")) await Deno.writeTextFile(`${folder}/${name}`, "12\n{}");
    }
    const output = await second.ask({ prompt });
    assertEquals([output.cachedTokens, output.of(0)], [0, answer.of(0)]);
    assert(second.log.some((line) => line.includes("was not restored")));
    await second.stop();
  }));

Deno.test("when memory is short, what is evicted is saved first and found again", () =>
  inFolder(async (folder) => {
    const world = await start(folder, { kvBlocks: 24 });
    const prompts = [1, 2, 3, 4, 5, 6].map((first) => promptOf(1200, first));
    const answers: Kept[] = [];
    for (const prompt of prompts) {
      answers.push(await world.ask({ prompt }));
      // Whoever is evicted while another is being saved is not saved.
      await until(
        () => world.sessions.figures().saves === world.engine.transfers,
        "what is evicted is not saved",
      );
    }
    assert(ids(world).length >= 3, `${ids(world)}`);
    const again = await world.ask({ prompt: prompts[0]! });
    assertEquals([again.cachedTokens, again.of(0)], [1199, answers[0]!.of(0)]);
    await world.stop();
  }));

Deno.test("a restore that finds no memory free lets the request run its prompt when it can", () =>
  inFolder(async (folder) => {
    const first = await start(folder, { kvBlocks: 24 });
    const prompt = promptOf(1200);
    const answer = await first.ask({ prompt });
    await first.stop();
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    const during = (step: number) => step === 0 ? gate : Promise.resolve();
    const second = await start(folder, { kvBlocks: 24, during });
    const long = new Kept();
    second.scheduler.submit(spec({ prompt: promptOf(2000, 5), maxTokens: 8 }), long);
    const asked = second.ask({ prompt });
    await pause();
    open();
    assertEquals((await asked).of(0), answer.of(0));
    assertEquals(long.of(0).length, 8);
    await second.stop();
  }));

Deno.test("what a restore has taken is not made room for again: nobody is evicted for it twice", () =>
  inFolder(async (folder) => {
    const first = await start(folder);
    await first.ask({ prompt: promptOf(1200) });
    await first.stop();
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    const second = await start(folder, { kvBlocks: 30, duringTransfer: () => gate });
    await second.ask({ prompt: promptOf(1200, 5) });
    const restored = second.ask({ prompt: promptOf(1200) });
    while (second.engine.usage().kvBlocksFree > 10) await pause();
    const beside = new Kept();
    second.scheduler.submit(spec({ prompt: promptOf(600, 6), maxTokens: 8 }), beside);
    await second.idle();
    open();
    assertEquals((await restored).cachedTokens, 1199);
    await second.stop("killed");
    // What is evicted is saved before.
    assertEquals(second.engine.transfers, 1);
  }));

Deno.test("when the time for saving is over, what is being saved is given up", () =>
  inFolder(async (folder) => {
    const never = new Promise<void>(() => {});
    const world = await start(folder, { duringTransfer: () => never });
    await world.ask({ prompt: promptOf(1000) });
    await world.ask({ prompt: promptOf(1000, 5) });
    await world.scheduler.drain(1000);
    await world.sessions.saveAll(20);
    assertEquals(world.engine.transfers, 1);
    assert(world.log.some((line) => line.includes("no time to save all")));
    await world.stop("killed");
    assertEquals((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), [".lock"]);
  }));

Deno.test("a disk that is full when the server stops is told, and nothing else happens", () =>
  inFolder(async (folder) => {
    const world = await start(folder, {}, { limitBytes: 100 });
    await world.ask({ prompt: promptOf(1000) });
    await world.ask({ prompt: promptOf(1000, 5) }, "talk");
    await world.stop();
    assert(world.log.some((line) => line.includes("--sessions-size")));
    assertEquals((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), [".lock"]);
  }));
