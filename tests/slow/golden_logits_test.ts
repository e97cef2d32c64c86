// SPDX-License-Identifier: Apache-2.0
/** SmolLM2's logits with the prompts of 1,000, 2,000 and 4,096 tokens too, in both precisions. */
import { goldenModel } from "../fixtures/golden_files.ts";
import {
  MODELS,
  openGolden,
  requireExactPrompts,
  requireExactTexts,
  requireNearPrompts,
  requireNearTexts,
} from "../fixtures/golden_models.ts";

const { name, path, ignore } = MODELS[1]!;
const golden = goldenModel(name);

Deno.test({ name: `${name} in float32 gives all logits of the reference`, ignore }, async () => {
  await using model = await openGolden(path, "f32");
  await requireExactPrompts(model, golden.prompts);
  await requireExactTexts(model, golden.texts);
});

Deno.test({
  name: `${name} in bfloat16 stays near float32 in all prompts, as transformers in bfloat16 does`,
  ignore,
}, async () => {
  await using model = await openGolden(path, "bf16");
  await requireNearPrompts(model, golden, golden.prompts);
  await requireNearTexts(model, golden);
});
