// SPDX-License-Identifier: Apache-2.0
// The goldens of all families on the emulated GPU, of which `deno task test:emulated` passes one.
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;
const LIBRARY = `${ROOT}build/release/emulated/libsounder.so`;

Deno.test("all families give the reference's logits on a GPU too, an emulated one", async () => {
  assert(
    await Deno.stat(LIBRARY).then(() => true, () => false),
    "`deno task test:native` builds the emulated GPU.",
  );
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "tests/end_to_end/golden_families_test.ts"],
    cwd: ROOT,
    env: { SOUNDER_DEVICE: "cuda", SOUNDER_LIBRARY: LIBRARY },
  }).spawn().status;
  assertEquals(code, 0);
});
