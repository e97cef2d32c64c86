// SPDX-License-Identifier: Apache-2.0
/** Nine tiny models, each with something of its own in the architecture, against every logit. */
import { assertEquals } from "@std/assert";
import { GREEDY, LAST_SAMPLED } from "../../src/engine/engine.ts";
import { compareFamily, goldenFamily } from "../fixtures/golden_families.ts";
import { Differences, type Distance, readGolden } from "../fixtures/golden_files.ts";
import { FAMILIES, TestEngine } from "../fixtures/native_engine.ts";

const NAMES = [...Deno.readDirSync(FAMILIES)].filter((entry) => entry.isDirectory)
  .map((entry) => entry.name).sort();
const SETTINGS = { kvBlocks: 8, context: 256, maxStepTokens: 160, maxContexts: 4 };
const TOLERANCE = 2e-3;
const BF16 = readGolden<{ families: Record<string, Distance> }>("families/hf_bf16.json").families;

async function greedyFrom(model: TestEngine, prompt: number[], count: number): Promise<number[]> {
  using context = model.context();
  const made: number[] = [];
  while (made.length < count) {
    const tokens = made.length === 0 ? prompt : [LAST_SAMPLED];
    made.push((await context.step(tokens, { sampling: GREEDY })).token);
  }
  return made;
}

assertEquals(NAMES.length, 9);
for (const name of NAMES) {
  Deno.test(`${name} in float32 gives every logit of the reference`, async (t) => {
    await using model = await TestEngine.open(FAMILIES + name, { ...SETTINGS, precision: "f32" });
    const { tokens, token_logprobs, greedy_from_first_20 } = goldenFamily(name);
    for (const chunk of [150, 64, 37, 7, 1]) {
      await t.step(`${chunk} tokens a step`, async () => {
        (await compareFamily(model, name, chunk)).requireWithin(TOLERANCE, "logits");
      });
    }
    await t.step("and the log-probability of every token", async () => {
      using context = model.context();
      const scored = await context.score(tokens, 0, 61);
      const differences = new Differences();
      token_logprobs.forEach((value, i) =>
        differences.add(scored[i]!.logprob, value, `position ${i}`)
      );
      differences.requireWithin(TOLERANCE, "log-probabilities");
    });
    await t.step("and the greedy continuation", async () => {
      const made = await greedyFrom(model, tokens.slice(0, 20), greedy_from_first_20.length);
      assertEquals(made, greedy_from_first_20);
    });
  });

  Deno.test(`${name} in bfloat16 is no further off than 1.5 x transformers in bfloat16`, async () => {
    await using model = await TestEngine.open(FAMILIES + name, { ...SETTINGS, precision: "bf16" });
    for (const chunk of [150, 37, 1]) {
      (await compareFamily(model, name, chunk)).requireNear(BF16[name]!, `chunks of ${chunk}`);
    }
  });
}
