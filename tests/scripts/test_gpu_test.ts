// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes } from "@std/assert";

const SCRIPT = new URL("../../scripts/test_gpu.sh", import.meta.url);

/** What the script says where the first of its tests is this one, or is not there. */
async function run(test: string | null, ...parts: string[]) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/scripts`);
    await Deno.mkdir(`${folder}/build/release`, { recursive: true });
    await Deno.copyFile(SCRIPT, `${folder}/scripts/test_gpu.sh`);
    if (test !== null) {
      await Deno.writeTextFile(`${folder}/build/release/cuda_best_test`, test, { mode: 0o755 });
    }
    const command = new Deno.Command("bash", { args: [`${folder}/scripts/test_gpu.sh`, ...parts] });
    const { code, stdout } = await command.output();
    return { code, text: new TextDecoder().decode(stdout) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("without a GPU one sentence says so, before any test", async () => {
  const { code, text } = await run("#!/bin/sh\necho 'skipped: there is no GPU'\nexit 77\n");
  assertEquals({ code, text }, { code: 1, text: "Cannot test on a GPU: there is no GPU.\n" });
});

Deno.test("without CUDA's compiler, too, and a part that is none is named first", async () => {
  assertStringIncludes(
    (await run(null)).text,
    "Cannot test on a GPU: the tests of kernels were not built",
  );
  const { code, text } = await run(null, "native", "all");
  assertEquals(code, 2);
  assertStringIncludes(text, "Cannot test all");
});

Deno.test("with one the tests are run, and those that fail are named", async () => {
  const { code, text } = await run("#!/bin/sh\nexit 0\n", "native");
  assertEquals(code, 1);
  assertStringIncludes(text, "== build/release/cuda_best_test\n   status 0");
  assertStringIncludes(text, "Failed: build/release/cuda_sampled_test (status 127)");
});
