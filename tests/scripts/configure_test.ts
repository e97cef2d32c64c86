// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes } from "@std/assert";

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

Deno.test("the compiler that CUDACXX names is taken, and one that is too old is no error", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["bin", "include", "lib64"]) await Deno.mkdir(`${folder}/${name}`);
    const nvcc = `${folder}/bin/nvcc`;
    const version = "Cuda compilation tools, release 12.0, V12.0.140";
    await Deno.writeTextFile(nvcc, `#!/bin/sh\necho "${version}"\n`, { mode: 0o755 });
    for (const name of ["include/cublasLt.h", "lib64/libcublasLt.so"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    const args = ["-S", ".", "-B", `${folder}/build`];
    const command = new Deno.Command("cmake", { args, cwd: NATIVE, env: { CUDACXX: nvcc } });
    const { code, stdout } = await command.output();
    const text = new TextDecoder().decode(stdout);
    assertStringIncludes(text, `${nvcc} is older than CUDA 12.5: built without GPUs`);
    assertEquals(code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
