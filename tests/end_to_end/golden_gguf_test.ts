// SPDX-License-Identifier: Apache-2.0
/** The tiny models as GGUF files: names, order of q's and k's rows, types and metadata of that format. */
import { familyAsGguf } from "../fixtures/family_gguf.ts";
import { compareFamily } from "../fixtures/golden_families.ts";
import { readSafetensors, writeGguf } from "../fixtures/model_files.ts";
import { FAMILIES, TestEngine } from "../fixtures/native_engine.ts";

const SETTINGS = { kvBlocks: 4, context: 256, maxStepTokens: 160, maxContexts: 2 };

for (const name of ["llama2_mha", "llama32_tied_headdim", "qwen2_qkv_bias", "qwen3_qk_norm"]) {
  Deno.test(`${name} as a GGUF file gives every logit of the reference`, async () => {
    const file = Deno.makeTempFileSync({ suffix: ".gguf" });
    try {
      const config = JSON.parse(Deno.readTextFileSync(`${FAMILIES}${name}/config.json`));
      const stored = readSafetensors(`${FAMILIES}${name}/model.safetensors`);
      const { metadata, tensors } = familyAsGguf(config, stored);
      writeGguf(file, metadata, tensors);
      await using model = await TestEngine.open(file, { ...SETTINGS, precision: "f32" });
      (await compareFamily(model, name, 150)).requireWithin(2e-3, "logits");
    } finally {
      Deno.removeSync(file);
    }
  });
}
