// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";

const NATIVE = new URL("../../native/", import.meta.url);

async function names(folder: string): Promise<string[]> {
  const found = [];
  for await (const { name } of Deno.readDir(folder)) found.push(name);
  return found;
}

Deno.test("a build without CUDA leaves no library for GPUs of an earlier one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const old = ["libsounder.so", "libsounder_cuda.so"];
    for (const name of old) await Deno.writeTextFile(`${folder}/${name}`, "");
    const args = ["-S", ".", "-B", folder, "-DSOUNDER_CUDA=OFF"];
    const command = new Deno.Command("cmake", { args, cwd: NATIVE, stdout: "null" });
    assertEquals((await command.output()).code, 0);
    assertEquals((await names(folder)).filter((name) => old.includes(name)), ["libsounder.so"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
