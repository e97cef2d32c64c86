// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { ConstraintCompiler, type FormatRequest } from "../../../src/constraint/compiler.ts";
import { Failure } from "../../../src/errors.ts";
import { WALK_TOKENIZER, WALK_VOCABULARY } from "../../fixtures/constraint_walks.ts";

const regex = (regex: string): FormatRequest => ({ format: { kind: "regex", regex }, param: "re" });

Deno.test("what was compiled is kept while it is among those used last", () => {
  const compiler = new ConstraintCompiler(WALK_TOKENIZER, WALK_VOCABULARY);
  const first = compiler.compile(regex("a"));
  assertStrictEquals(compiler.compile(regex("a")), first);
  for (let i = 0; i < 63; i++) compiler.compile(regex(`b{${i + 1}}`));
  assertStrictEquals(compiler.compile(regex("a")), first);
  for (let i = 0; i < 64; i++) compiler.compile(regex(`c{${i + 1}}`));
  assert(compiler.compile(regex("a")) !== first);
});

Deno.test("a refusal starts with the field that is wrong, and names it", () => {
  const compiler = new ConstraintCompiler(WALK_TOKENIZER, WALK_VOCABULARY);
  const refusal = assertThrows(() => compiler.compile(regex("(a")), Failure);
  assertEquals([refusal.kind, refusal.param], ["invalid", "re"]);
  assert(refusal.message.startsWith("re has a ( that isn't closed"), refusal.message);
  const long = assertThrows(() => compiler.compile(regex("a".repeat(300_000))), Failure);
  assertEquals(long.param, "re");
});
