// SPDX-License-Identifier: Apache-2.0
import { assert, assertRejects } from "@std/assert";
import { makeOut } from "../../bench/eval/flags.ts";
import { Failure } from "../../src/errors.ts";

Deno.test("a folder for results is made, with those above it, and one that cannot be is refused", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await makeOut(`${folder}/a/b`);
    await makeOut(`${folder}/a/b`);
    assert((await Deno.stat(`${folder}/a/b`)).isDirectory);
    await Deno.writeTextFile(`${folder}/file`, "");
    for (const where of [`${folder}/file`, `${folder}/file/a`]) {
      await assertRejects(() => makeOut(where), Failure, `Cannot make the folder --out ${where}: `);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
