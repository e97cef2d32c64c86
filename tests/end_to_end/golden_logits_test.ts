// SPDX-License-Identifier: Apache-2.0
/** Logits, log-probabilities and perplexities of real models against Hugging Face transformers. */
import { goldenModel } from "../fixtures/golden_files.ts";
import { comparePrompts, compareTexts } from "../fixtures/golden_compare.ts";
import { hasSmollm2, RECALL, SMOLLM2, TestEngine } from "../fixtures/native_engine.ts";

const SETTINGS = { kvBlocks: 40, context: 4608, maxStepTokens: 512, maxContexts: 4 };
/** What the float32 mode may differ by in a logit or a log-probability. */
const TOLERANCE = 2e-3;
const MODELS = [
  { name: "recall", path: RECALL, ignore: false },
  { name: "smollm2-135m-instruct", path: SMOLLM2, ignore: !hasSmollm2() },
];

for (const { name, path, ignore } of MODELS) {
  const golden = goldenModel(name);

  Deno.test({ name: `${name} in float32 gives the reference's logits`, ignore }, async (t) => {
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "f32" });
    await t.step("at the last and at every position of the prompts", async () => {
      const { grouped, logsumexp } = await comparePrompts(model, golden.prompts);
      const { logits, logprobs } = grouped.groups.get("all")!;
      logits.requireWithin(TOLERANCE, "logits");
      logprobs.requireWithin(TOLERANCE, "log-probabilities");
      logsumexp.requireWithin(TOLERANCE, "logsumexp");
    });
    await t.step("and its perplexities", async () => {
      const { whole, first64 } = await compareTexts(model, golden.texts);
      whole.requireWithin(1e-4, "mean NLL");
      first64.requireWithin(1e-4, "mean NLL of the first 64");
    });
  });

  Deno.test({
    name: `${name} in bfloat16 is no further from float32 than 1.5 x transformers in bfloat16`,
    ignore,
  }, async (t) => {
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "bf16" });
    await t.step("in the logits and log-probabilities of the prompts", async () => {
      const { grouped } = await comparePrompts(model, golden.prompts);
      for (const [group, { logits, logprobs }] of grouped.groups) {
        const yardstick = golden.bf16.groups[group]!;
        logits.requireNear(yardstick.logits, `logits of the ${group} prompts`);
        if (yardstick.logprobs === undefined) continue;
        logprobs.requireNear(yardstick.logprobs, `log-probabilities of the ${group} prompts`);
      }
    });
    await t.step("and in perplexity", async () => {
      const { whole } = await compareTexts(model, golden.texts);
      whole.requireNear(golden.bf16.mean_nll, "mean NLL");
    });
  });
}
