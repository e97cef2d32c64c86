// SPDX-License-Identifier: Apache-2.0
/** Whatever is asked, saved, loaded, deleted, damaged, stopped and killed: every request gets what it gets alone. */
import { assertEquals } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { Random } from "../../fixtures/fake_model.ts";
import { promptOf } from "../../fixtures/requests.ts";
import { inFolder } from "../../fixtures/sessions.ts";
import { alone } from "../scheduler/world.ts";
import { start, type World } from "./world.ts";

const TRACES = 30;
const LIVES = 3;
const EVENTS = 12;

const expected = new Map<string, number[]>();

/** The tokens that a request gets from a server that has nothing else to do. */
async function expectedOf(prompt: Int32Array, maxTokens: number): Promise<number[]> {
  const key = `${prompt.join()} ${maxTokens}`;
  let tokens = expected.get(key);
  if (tokens === undefined) expected.set(key, tokens = (await alone({ prompt, maxTokens }))[0]!);
  return tokens;
}

/** One of a few documents, cut somewhere, with one of a few ends. */
function randomPrompt(random: Random): Int32Array {
  const prompt = promptOf(random.pick([100, 129, 600, 1100, 1400]), random.integer(1, 3));
  const end = random.integer(0, 2);
  if (end > 0) prompt.fill(end, prompt.length - random.pick([1, 40, 90]));
  return prompt;
}

async function ask(world: World, random: Random): Promise<void> {
  const prompt = randomPrompt(random);
  const maxTokens = random.pick([1, 8, 150]);
  const session = random.chance(0.4) ? random.pick(["a", "b"]) : null;
  const cacheScope = random.pick(["", "aa"]);
  const output = await world.ask({ prompt, maxTokens, cacheScope }, session);
  assertEquals(output.of(0), await expectedOf(prompt, maxTokens));
}

/** Something that a client does to a session; refusals are answers. */
async function manage({ sessions }: World, random: Random): Promise<void> {
  const name = { scope: random.pick(["", "aa"]), id: random.pick(["a", "b"]) };
  const does = random.pick(["save", "save", "load", "delete"] as const);
  try {
    await sessions[does](name);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}

async function damage(folder: string, random: Random): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".session") && random.chance(0.3)) {
      await Deno.writeTextFile(`${folder}/${name}`, "12\n{}");
    }
  }
}

async function live(folder: string, random: Random): Promise<{ restores: number; saves: number }> {
  const world = await start(folder, {
    kvBlocks: random.integer(28, 60),
    maxStepTokens: random.pick([200, 1024]),
    duringTransfer: async () => {
      if (random.chance(0.5)) await new Promise((done) => setTimeout(done, random.integer(0, 3)));
    },
  }, { limitBytes: random.pick([40_000, 1e9]), sampling: random.pick(["a", "b"]) });
  const events: Promise<void>[] = [];
  for (let i = 0; i < EVENTS; i++) {
    events.push(random.chance(0.7) ? ask(world, random) : manage(world, random));
    if (random.chance(0.1)) events.push(damage(folder, random));
    if (random.chance(0.5)) await Promise.all(events.splice(0));
  }
  await Promise.all(events);
  await world.stop(random.chance(0.5) ? "saving" : "killed");
  await Deno.writeTextFile(`${folder}/a.session.partial`, "half");
  return world.sessions.figures();
}

Deno.test("over random lives of servers, every request gets what it gets alone, and nothing is lost", async () => {
  let restores = 0;
  let saves = 0;
  for (let seed = 1; seed <= TRACES; seed++) {
    await inFolder(async (folder) => {
      const random = new Random(seed);
      try {
        for (let life = 0; life < LIVES; life++) {
          const figures = await live(folder, random);
          restores += figures.restores;
          saves += figures.saves;
        }
      } catch (error) {
        throw new Error(`Trace ${seed}: ${(error as Error).message}`, { cause: error });
      }
    });
  }
  // The traces do what they are for.
  assertEquals([restores > TRACES, saves > TRACES], [true, true], `${restores} ${saves}`);
});
