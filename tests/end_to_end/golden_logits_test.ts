// SPDX-License-Identifier: Apache-2.0
/**
 * Logits, log-probabilities and perplexities of real models against Hugging Face transformers. SmolLM2's
 * prompts of 1,000 tokens and more, and most of its texts, wait for `tests/slow/`.
 */
import { goldenModel } from "../fixtures/golden_files.ts";
import {
  MODELS,
  openGolden,
  requireExactPrompts,
  requireExactTexts,
  requireNearPrompts,
  requireNearTexts,
} from "../fixtures/golden_models.ts";

for (const { name, path, ignore } of MODELS) {
  const golden = goldenModel(name);
  const small = name === "recall";
  const prompts = golden.prompts.filter(({ n }) => small || n < 1000);

  Deno.test({ name: `${name} in float32 gives the reference's logits`, ignore }, async (t) => {
    await using model = await openGolden(path, "f32");
    await t.step("at the last and at every position of the prompts", async () => {
      await requireExactPrompts(model, prompts);
    });
    await t.step("and its perplexities", async () => {
      await requireExactTexts(model, small ? golden.texts : golden.texts.slice(0, 1));
    });
  });

  Deno.test({
    name: `${name} in bfloat16 is no further from float32 than 1.5 x transformers in bfloat16`,
    ignore,
  }, async (t) => {
    await using model = await openGolden(path, "bf16");
    await t.step("in the logits and log-probabilities of the prompts", async () => {
      await requireNearPrompts(model, golden, prompts);
    });
    if (!small) return;
    await t.step("and in perplexity", async () => {
      await requireNearTexts(model, golden);
    });
  });
}
