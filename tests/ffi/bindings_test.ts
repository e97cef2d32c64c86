// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import { libraryPath, openLibrary } from "../../ffi/library.ts";
import { Failure } from "../../src/errors.ts";
import { SYMBOLS } from "../../ffi/symbols.ts";
import { TENSOR_ROLES, TENSOR_TYPES } from "../../src/model/model.ts";
import * as engine from "../../src/engine/engine.ts";
import * as abi from "../../ffi/symbols.ts";

const ROOT = new URL("../../", import.meta.url);

async function output(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args, cwd: ROOT }).output();
  return new TextDecoder().decode(stdout);
}

Deno.test("the committed bindings are what the header says", async () => {
  const check = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "scripts/bindings.ts", "--check"],
    cwd: ROOT,
    stderr: "piped",
  });
  const { code, stderr } = await check.output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
});

Deno.test("the library exports exactly the functions of the header", async () => {
  const header = await Deno.readTextFile(new URL("native/include/sounder.h", ROOT));
  const declared = [...header.matchAll(/^SOUNDER_API [^;(]*?(sounder_\w+)\(/gm)].map((m) => m[1]!);
  const symbols = await output("nm", "-D", "--defined-only", libraryPath());
  const exported = [...symbols.matchAll(/ [TWVBD] (\S+)$/gm)].map((m) => m[1]!.replace(/@.*/, ""));
  assertEquals(exported.toSorted(), declared.toSorted());
  assertEquals(Object.keys(SYMBOLS).toSorted(), declared.toSorted());
});

Deno.test("src/ and the header number roles, types and limits alike", () => {
  const constants = abi as unknown as Record<string, number>;
  for (const [name, value] of Object.entries(TENSOR_ROLES)) {
    assertEquals(constants[`ROLE_${name.toUpperCase()}`], value, name);
  }
  for (const [name, value] of Object.entries(TENSOR_TYPES)) {
    assertEquals(constants[`TYPE_${name}`], value, name);
  }
  assertEquals(Object.keys(TENSOR_ROLES).length, abi.ROLE_COUNT);
  assertEquals(Object.keys(TENSOR_TYPES).length, abi.TYPE_COUNT);
  assertEquals(engine.BLOCK_TOKENS, abi.BLOCK_TOKENS);
  assertEquals(engine.MAX_ALTERNATIVES, abi.MAX_ALTERNATIVES);
  assertEquals(engine.LAST_SAMPLED, abi.LAST_SAMPLED);
});

Deno.test("a missing library is an error that names the task that builds it", () => {
  const failure = assertThrows(
    () => openLibrary("/nowhere/libsounder.so"),
    Failure,
    "deno task build",
  );
  assertEquals(failure.kind, "engine");
});
