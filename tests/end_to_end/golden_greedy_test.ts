// SPDX-License-Identifier: Apache-2.0
/** Greedy answers of real models against the reference, many in one batch. */
import { assert, assertEquals } from "@std/assert";
import { GREEDY, LAST_SAMPLED } from "../../src/engine/engine.ts";
import { Differences, type GoldenGreedy, goldenModel } from "../fixtures/golden_files.ts";
import { MODELS } from "../fixtures/golden_models.ts";
import { type TestContext, TestEngine } from "../fixtures/native_engine.ts";

const SETTINGS = {
  kvBlocks: 48,
  context: 512,
  maxStepTokens: 512,
  maxContexts: 16,
  maxStepSequences: 16,
};
const EOS = 2;

/**
 * Answers all cases in one batch that a new case joins at every step, so that prompts are read beside
 * answers that are being written. Returns the tokens of each case.
 */
async function answers(model: TestEngine, cases: readonly GoldenGreedy[]): Promise<number[][]> {
  const made: number[][] = cases.map(() => []);
  const contexts: TestContext[] = [];
  const done = (i: number) => made[i]!.at(-1) === EOS || made[i]!.length === cases[i]!.ids.length;
  try {
    while (contexts.length < cases.length || cases.some((_, i) => !done(i))) {
      if (contexts.length < cases.length) contexts.push(model.context());
      const rows = contexts.map((_, i) => i).filter((i) => !done(i));
      const { sequences } = await model.engine.step(
        rows.map((i) =>
          contexts[i]!.sequence(made[i]!.length === 0 ? cases[i]!.prompt_ids : [LAST_SAMPLED], {
            sampling: GREEDY,
          })
        ),
      );
      sequences.forEach(({ failure, token }, k) => {
        assertEquals(failure, null);
        made[rows[k]!]!.push(token);
      });
    }
  } finally {
    contexts.forEach((context) => context[Symbol.dispose]());
  }
  return made;
}

/** Where the reference's margin is small another token is fine, and what follows says nothing more. */
function requireSameAnswer(
  golden: GoldenGreedy,
  made: readonly number[],
  tolerance: number,
): boolean {
  const differs = golden.ids.findIndex((token, i) => made[i] !== token);
  if (differs === -1) return true;
  assert(
    golden.margin[differs]! <= tolerance,
    `${golden.name}: token ${differs} is ${made[differs]} instead of ${golden.ids[differs]}, ` +
      `which leads by ${golden.margin[differs]}, more than ${tolerance}`,
  );
  return false;
}

/** The margins along the reference's own answer, all read in one pass. */
async function compareMargins(
  model: TestEngine,
  cases: readonly GoldenGreedy[],
): Promise<Differences> {
  const differences = new Differences();
  const { vocabulary } = model.source.config;
  for (const { name, prompt_ids, ids, second, margin } of cases) {
    using context = model.context();
    await context.captured([...prompt_ids, ...ids.slice(0, -1)], () => {
      const logits = model.engine.readCapture("logits");
      ids.forEach((token, k) => {
        const row = (prompt_ids.length - 1 + k) * vocabulary;
        const here = logits[row + token]! - logits[row + second[k]!]!;
        differences.add(here, margin[k]!, `${name}, margin ${k}`);
      });
    });
  }
  return differences;
}

for (const { name, path, ignore } of MODELS) {
  const { greedy, bf16 } = goldenModel(name);

  Deno.test({ name: `${name} in float32 answers as the reference does`, ignore }, async () => {
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "f32" });
    const text = await model.text();
    try {
      const made = await answers(model, greedy);
      greedy.forEach((golden, i) => {
        if (!requireSameAnswer(golden, made[i]!, 4e-3)) return;
        assertEquals(text.tokenizer.decode(made[i]!, { skipSpecial: true }), golden.text);
      });
      (await compareMargins(model, greedy.slice(0, 4))).requireWithin(4e-3, "margins");
    } finally {
      text.close();
    }
  });

  Deno.test({
    name: `${name} in bfloat16 answers as the reference wherever its margin allows nothing else`,
    ignore,
  }, async () => {
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "bf16" });
    const made = await answers(model, greedy);
    const same = greedy.filter((golden, i) =>
      requireSameAnswer(golden, made[i]!, 1.5 * bf16.greedy_margins.max)
    );
    assert(same.length >= greedy.length / 2, `only ${same.length} answers are the same to the end`);
    (await compareMargins(model, greedy)).requireNear(bf16.greedy_margins, "margins");
  });
}
