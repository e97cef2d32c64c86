// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { MemorySource } from "./memory_source.ts";
import { readSafetensors, readShardIndex } from "../../../src/model/safetensors.ts";
import { safetensorsBytes } from "./file_writers.ts";

function read(bytes: Uint8Array) {
  return readSafetensors(new MemorySource("x.safetensors", bytes));
}

function refuses(bytes: Uint8Array, ...parts: string[]): void {
  const { message, kind } = assertThrows(() => read(bytes), Failure);
  assertEquals(kind, "model");
  for (const part of ["x.safetensors: ", ...parts]) assertStringIncludes(message, part);
}

const tensor = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

Deno.test("readSafetensors gives offsets from the start of the file", () => {
  const header = {
    __metadata__: { format: "pt" },
    b: tensor("F32", [2], 12, 20),
    a: tensor("BF16", [2, 3], 0, 12),
    empty: tensor("F16", [0, 4], 12, 12),
  };
  const bytes = safetensorsBytes(header, 20);
  const start = bytes.length - 20;
  assertEquals(read(bytes).map(({ name, type, shape, offset }) => [name, type, shape, offset]), [
    ["b", "F32", [2], start + 12],
    ["a", "BF16", [2, 3], start],
    ["empty", "F16", [0, 4], start + 12],
  ]);
});

Deno.test("readSafetensors describes types that nobody computes with", () => {
  const header = { ids: tensor("I64", [3], 0, 24), mask: tensor("BOOL", [5], 24, 29) };
  assertEquals(read(safetensorsBytes(header, 29)).map((t) => t.type), ["I64", "BOOL"]);
});

Deno.test("readSafetensors refuses files that are none", () => {
  refuses(new Uint8Array(4), "too short");
  refuses(new Uint8Array(40).fill(0xff), "no safetensors file");
  refuses(safetensorsBytes("[1, 2]"), "does not start with {");
  refuses(safetensorsBytes('{"a": '), "is not JSON");
  refuses(safetensorsBytes("{}", 8), "last 8 bytes belong to no tensor");
  const text = safetensorsBytes('{"abc": {}}');
  text[11] = 0xff;
  refuses(text, "not UTF-8");
});

Deno.test("readSafetensors names the tensor that is wrong", () => {
  const one = (value: unknown, bytes = 8) => safetensorsBytes({ w: value }, bytes);
  refuses(one(7), 'tensor "w"', "no description");
  refuses(one(null), 'tensor "w"', "no description");
  refuses(one({}), 'tensor "w"', "unknown type");
  refuses(one(tensor("Q4", [2], 0, 8)), 'tensor "w"', 'unknown type "Q4"', "F32, F16 and BF16");
  refuses(one({ ...tensor("F32", [2], 0, 8), shape: [-2] }), 'tensor "w"', "shape");
  refuses(one({ ...tensor("F32", [2], 0, 8), shape: [1.5] }), 'tensor "w"', "shape");
  refuses(one({ ...tensor("F32", [2], 0, 8), data_offsets: [0] }), 'tensor "w"', "offsets");
  refuses(one(tensor("F32", [2], 8, 0)), 'tensor "w"', "takes 8");
  refuses(
    one(tensor("F32", [3], 0, 8)),
    'tensor "w"',
    "takes 8 bytes, but F32 of shape [3] takes 12",
  );
  refuses(one(tensor("F32", [2 ** 40, 2 ** 40], 0, 8)), 'tensor "w"', "takes");
});

Deno.test("readSafetensors refuses cut, overlapping, holed and doubled tensors", () => {
  refuses(safetensorsBytes({ w: tensor("F32", [2], 0, 8) }, 7), 'tensor "w"', "cut off");
  const overlap = { v: tensor("F32", [2], 0, 8), w: tensor("F32", [2], 4, 12) };
  refuses(safetensorsBytes(overlap, 12), 'tensors "v" and "w" overlap');
  const hole = { v: tensor("F32", [1], 0, 4), w: tensor("F32", [1], 8, 12) };
  refuses(safetensorsBytes(hole, 12), 'before tensor "w" belong to no tensor');
  const text = JSON.stringify(tensor("F32", [1], 0, 4));
  refuses(safetensorsBytes(`{"w":${text},"\\u0077":${text}}`, 4), 'tensor "w" is there twice');
});

Deno.test("readSafetensors reads names that hide quotes, braces and backslashes", () => {
  const names = ['a"b', "c\\", "{", "}]", "__proto__", "x,y"];
  const header = Object.fromEntries(names.map((name, i) => [name, tensor("I8", [1], i, i + 1)]));
  const text = JSON.stringify(header);
  assertEquals(read(safetensorsBytes(text, names.length)).map((t) => t.name), names);
});

Deno.test("readShardIndex lists each file once and refuses names that leave the folder", () => {
  const index = (weight_map: unknown) => readShardIndex(JSON.stringify({ weight_map }), "i.json");
  const { files, weightMap } = index({
    a: "2.safetensors",
    b: "1.safetensors",
    c: "2.safetensors",
  });
  assertEquals(files, ["1.safetensors", "2.safetensors"]);
  assertEquals(weightMap.get("c"), "2.safetensors");
  for (
    const name of ["../1.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "x.bin", 7, null]
  ) {
    const { message } = assertThrows(() => index({ a: name }), Failure);
    assertStringIncludes(message, 'i.json: tensor "a"');
  }
  assertThrows(() => index({}), Failure, "names no tensors");
  assertThrows(() => index([]), Failure, "weight_map");
  assertThrows(() => readShardIndex("null", "i.json"), Failure, "weight_map");
});
