// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Failure } from "../../../src/errors.ts";
import { MemorySource } from "./memory_source.ts";
import { type Gguf, readGguf } from "../../../src/model/gguf.ts";
import { GGML_BLOCKS, ggufBytes, type GgufValue, tinyGguf, zeros } from "./file_writers.ts";

function read(bytes: Uint8Array): Gguf {
  return readGguf(new MemorySource("x.gguf", bytes));
}

function refuses(bytes: Uint8Array, ...parts: string[]): void {
  const { message, kind } = assertThrows(() => read(bytes), Failure);
  assertEquals(kind, "model");
  for (const part of ["x.gguf: ", ...parts]) assertStringIncludes(message, part);
}

Deno.test("readGguf reads every type of metadata", () => {
  const { metadata, version } = read(ggufBytes({
    a: { type: "u8", value: 255 },
    b: { type: "i8", value: -128 },
    c: { type: "u16", value: 65535 },
    d: { type: "i16", value: -2 },
    e: { type: "u32", value: 4294967295 },
    f: { type: "i32", value: -3 },
    g: { type: "f32", value: 0.5 },
    h: { type: "f64", value: 0.1 },
    i: { type: "u64", value: 12n },
    j: { type: "i64", value: -9223372036854775808n },
    k: { type: "bool", value: true },
    l: { type: "string", value: "ünïcode 🐗" },
  }));
  assertEquals(version, 3);
  assertEquals([...metadata.values()], [
    255,
    -128,
    65535,
    -2,
    4294967295,
    -3,
    0.5,
    0.1,
    12,
    -9223372036854775808n,
    true,
    "ünïcode 🐗",
  ]);
});

Deno.test("readGguf reads arrays of numbers as typed arrays", () => {
  const array = (
    of: "u8" | "i32" | "f32" | "bool" | "u64",
    values: (number | bigint)[],
  ): GgufValue => ({
    type: "array",
    of,
    values,
  });
  const { metadata } = read(ggufBytes({
    a: array("u8", [1, 2]),
    b: array("i32", [-1, 7]),
    c: array("f32", [0.25]),
    d: array("bool", [1, 0]),
    e: array("u64", [5n]),
    f: array("f32", []),
  }));
  assertEquals([...metadata.values()], [
    Uint8Array.of(1, 2),
    Int32Array.of(-1, 7),
    Float32Array.of(0.25),
    Uint8Array.of(1, 0),
    BigUint64Array.of(5n),
    new Float32Array(0),
  ]);
});

Deno.test("readGguf splits arrays of strings as if each were decoded alone", () => {
  const text = fc.oneof(
    fc.string({
      unit: fc.constantFrom("a", "é", "Ġ", "漢", "🐗", "\ufeff", "\ud800"),
      maxLength: 12,
    }).map((s) => new TextEncoder().encode(s)),
    fc.uint8Array({ maxLength: 6 }),
    fc.constantFrom("", "Ġthe", "🐗", "é").map((s) => new TextEncoder().encode(s)),
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 40 }), (texts) => {
      const bytes = ggufBytes({ t: { type: "array", of: "string", values: texts } });
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      assertEquals(read(bytes).metadata.get("t"), texts.map((t) => decoder.decode(t)));
    }),
    { seed: 4, numRuns: 100 },
  );
});

Deno.test("readGguf reads vocabularies that span many windows of the file", () => {
  const values = Array.from({ length: 70_000 }, (_, i) => `Ġ${"word".repeat(i % 9)}${i}🐗`);
  const bytes = ggufBytes({
    before: { type: "u8", value: 1 },
    tokens: { type: "array", of: "string", values },
    after: { type: "u32", value: 99 },
  });
  const { metadata } = read(bytes);
  assertEquals((metadata.get("tokens") as string[]).join("\n"), values.join("\n"));
  assertEquals(metadata.get("after"), 99);
});

for (const version of [2, 3]) {
  Deno.test(`readGguf finds every supported type of tensor in version ${version}`, () => {
    const types = Object.keys(GGML_BLOCKS).map(Number);
    const names = ["F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16"];
    const tensors = types.map((type) => zeros(`t${type}`, [512, 3], type));
    const bytes = ggufBytes({}, tensors, { version });
    const gguf = read(bytes);
    assertEquals(gguf.version, version);
    assertEquals(gguf.tensors.map((t) => t.type), names);
    assertEquals(gguf.tensors.map((t) => t.shape), types.map(() => [3, 512]));
    let offset = gguf.dataStart;
    gguf.tensors.forEach((tensor, i) => {
      assertEquals(tensor.offset, offset);
      offset = Math.ceil((offset + tensors[i]!.data.length) / 32) * 32;
    });
    assertEquals(offset, bytes.length);
  });
}

Deno.test("readGguf follows general.alignment", () => {
  const metadata = { "general.alignment": { type: "u32", value: 128 } } as const;
  const gguf = read(ggufBytes(metadata, [zeros("a", [1]), zeros("b", [1])], { alignment: 128 }));
  assertEquals(gguf.dataStart % 128, 0);
  assertEquals(gguf.tensors[1]!.offset - gguf.tensors[0]!.offset, 128);
});

Deno.test("readGguf refuses files that are none", () => {
  refuses(new Uint8Array(3), "too short");
  refuses(new Uint8Array(100), "does not start with GGUF");
  refuses(ggufBytes({}, [], { version: 1 }), "version 1", "2 and 3");
  refuses(ggufBytes({}, [], { version: 0x03000000 }), "big-endian");
});

Deno.test("readGguf refuses damaged metadata and names the key", () => {
  const value: GgufValue = { type: "u32", value: 1 };
  refuses(ggufBytes([["a", value], ["a", value]]), 'metadata "a"', "twice");
  refuses(ggufBytes({ "": value }), "impossible name");
  refuses(
    ggufBytes({ a: { type: "array", of: "array", values: [] } }),
    '"a"',
    "array of arrays",
  );
  refuses(ggufBytes({ "general.alignment": { type: "u32", value: 24 } }), "no power of two");
  const unknownType = ggufBytes({ a: value });
  unknownType[24 + 9] = 77;
  refuses(unknownType, '"a"', "unknown type 77");
});

Deno.test("readGguf refuses counts and lengths beyond the file at once", () => {
  for (const at of [8, 16]) {
    const bytes = tinyGguf();
    bytes.fill(0xff, at, at + 8);
    refuses(bytes, "more than the file can hold");
  }
  const bytes = ggufBytes({ a: { type: "string", value: "text" } });
  bytes.fill(0xff, 24 + 8 + 1 + 4, 24 + 8 + 1 + 4 + 8);
  refuses(bytes, '"a"', "damaged");
  const array = ggufBytes({ a: { type: "array", of: "string", values: ["x"] } });
  array.fill(0x7f, 24 + 8 + 1 + 4 + 4, 24 + 8 + 1 + 4 + 4 + 8);
  refuses(array, '"a"', "more than the file can hold");
});

Deno.test("readGguf refuses tensors that cannot be and names them", () => {
  refuses(ggufBytes({}, [zeros("w", [40], 0), zeros("w", [40], 0)]), '"w" is there twice');
  const q2 = { ...zeros("w", [256]), type: 10 };
  refuses(ggufBytes({}, [q2]), 'tensor "w"', "Q2_K", "Q4_K_M");
  refuses(ggufBytes({}, [{ ...q2, type: 4711 }]), 'tensor "w"', "number 4711");
  refuses(ggufBytes({}, [{ ...zeros("w", [32], 8), dimensions: [33] }]), '"w"', "multiple of 32");
  refuses(ggufBytes({}, [{ ...q2, dimensions: [] }]), '"w"', "0 dimensions");
  refuses(
    ggufBytes({}, [{ ...zeros("w", [1]), dimensions: [2n ** 40n, 2n ** 40n] }]),
    "impossible shape",
  );
  refuses(ggufBytes({}, [{ ...zeros("w", [8]), offset: 8 }]), '"w"', "no multiple of 32");
  refuses(
    ggufBytes({}, [{ ...zeros("v", [64]), offset: 0 }, { ...zeros("w", [64]), offset: 64 }]),
    '"v"',
    '"w" overlap',
  );
});

Deno.test("readGguf says which tensor a cut file lacks", () => {
  const bytes = tinyGguf();
  refuses(bytes.subarray(0, bytes.length - 40), 'tensor "blk.1.ffn_down.weight"', "cut off");
});
