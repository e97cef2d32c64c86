// SPDX-License-Identifier: Apache-2.0
/** GGUF files (versions 2 and 3, little-endian): metadata and where each tensor lies. */
import { type ByteSource, fileFailure, show } from "./bytes.ts";
import { GgufCursor } from "./gguf_cursor.ts";
import { TENSOR_TYPES } from "./model.ts";
import type { StoredTensor } from "./tensors.ts";

/** Longest name of a tensor or key; real ones take some 60 characters. */
const MAX_NAME_LENGTH = 1024;

/** Values of a block, and its bytes, by ggml's number of the type. */
const TYPES = new Map<number, { name: string; values: number; bytes: number }>([
  [0, { name: "F32", values: 1, bytes: 4 }],
  [1, { name: "F16", values: 1, bytes: 2 }],
  [2, { name: "Q4_0", values: 32, bytes: 18 }],
  [3, { name: "Q4_1", values: 32, bytes: 20 }],
  [8, { name: "Q8_0", values: 32, bytes: 34 }],
  [12, { name: "Q4_K", values: 256, bytes: 144 }],
  [13, { name: "Q5_K", values: 256, bytes: 176 }],
  [14, { name: "Q6_K", values: 256, bytes: 210 }],
  [30, { name: "BF16", values: 1, bytes: 2 }],
]);

/** Types that exist but are not read, to name them in the refusal. */
const OTHER_TYPES: Record<number, string> = {
  6: "Q5_0",
  7: "Q5_1",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/**
 * Metadata by key. Integers and floats are numbers (64-bit integers past 2^53 are bigints), arrays of
 * strings are `string[]`, arrays of numbers typed arrays (booleans as 0 and 1 in a `Uint8Array`).
 */
export type GgufMetadata = ReadonlyMap<string, unknown>;

/** The head of a GGUF file. */
export interface Gguf {
  version: number;
  metadata: GgufMetadata;
  /** Shapes are [rows, columns], the other way round than in the file; offsets from its start. */
  tensors: StoredTensor[];
  /** Where the tensors' data begin. */
  dataStart: number;
}

/** Numbers by GGUF's number of the type: their bytes, and how a view reads them. */
const NUMBERS: Record<number, [number, (view: DataView, at: number) => unknown]> = {
  0: [1, (view, at) => view.getUint8(at)],
  1: [1, (view, at) => view.getInt8(at)],
  2: [2, (view, at) => view.getUint16(at, true)],
  3: [2, (view, at) => view.getInt16(at, true)],
  4: [4, (view, at) => view.getUint32(at, true)],
  5: [4, (view, at) => view.getInt32(at, true)],
  6: [4, (view, at) => view.getFloat32(at, true)],
  7: [1, (view, at) => view.getUint8(at) !== 0],
  10: [8, (view, at) => shorten(view.getBigUint64(at, true))],
  11: [8, (view, at) => shorten(view.getBigInt64(at, true))],
  12: [8, (view, at) => view.getFloat64(at, true)],
};

/** The typed array for each of them. */
const ARRAYS: Record<number, (buffer: ArrayBuffer) => ArrayBufferView> = {
  0: (b) => new Uint8Array(b),
  1: (b) => new Int8Array(b),
  2: (b) => new Uint16Array(b),
  3: (b) => new Int16Array(b),
  4: (b) => new Uint32Array(b),
  5: (b) => new Int32Array(b),
  6: (b) => new Float32Array(b),
  7: (b) => new Uint8Array(b),
  10: (b) => new BigUint64Array(b),
  11: (b) => new BigInt64Array(b),
  12: (b) => new Float64Array(b),
};
const STRING = 8, ARRAY = 9;

function shorten(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readKey(cursor: GgufCursor, source: ByteSource, what: string): string {
  const key = cursor.string();
  if (key === "" || key.length > MAX_NAME_LENGTH) {
    throw fileFailure(source.name, `has ${what} with an impossible name: it is damaged.`);
  }
  return key;
}

function readArray(cursor: GgufCursor, source: ByteSource): unknown {
  const type = cursor.u32();
  if (type === STRING) return cursor.strings(cursor.count(8));
  const array = ARRAYS[type];
  if (array === undefined) {
    const what = type === ARRAY ? "an array of arrays" : `an array of the unknown type ${type}`;
    throw fileFailure(source.name, `${cursor.what} is ${what}, which is not supported.`);
  }
  const bytes = NUMBERS[type]![0];
  return array(cursor.bytes(cursor.count(bytes) * bytes).buffer);
}

function readValue(cursor: GgufCursor, source: ByteSource): unknown {
  const type = cursor.u32();
  if (type === STRING) return cursor.string();
  if (type === ARRAY) return readArray(cursor, source);
  const number = NUMBERS[type];
  if (number !== undefined) return cursor.value(...number);
  throw fileFailure(source.name, `${cursor.what} has the unknown type ${type}.`);
}

function readMetadata(cursor: GgufCursor, source: ByteSource, count: number): GgufMetadata {
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < count; i++) {
    cursor.what = `its metadata (entry ${i + 1} of ${count})`;
    const key = readKey(cursor, source, "metadata");
    cursor.what = `metadata ${show(key)}`;
    if (metadata.has(key)) throw fileFailure(source.name, `${cursor.what} is there twice.`);
    metadata.set(key, readValue(cursor, source));
  }
  return metadata;
}

interface TensorInfo extends StoredTensor {
  bytes: number;
}

function readShape(cursor: GgufCursor, fail: (sentence: string) => Error): number[] {
  const dimensions = cursor.u32();
  if (dimensions < 1 || dimensions > 4) throw fail(`has ${dimensions} dimensions.`);
  const shape = Array.from({ length: dimensions }, () => Number(cursor.u64()));
  while (shape.length > 1 && shape.at(-1) === 1) shape.pop();
  return shape.reverse();
}

function readTensor(cursor: GgufCursor, source: ByteSource): TensorInfo {
  const name = readKey(cursor, source, "a tensor");
  const fail = (sentence: string) => fileFailure(source.name, `tensor ${show(name)} ${sentence}`);
  cursor.what = `the description of tensor ${show(name)}`;
  const shape = readShape(cursor, fail);
  const number = cursor.u32();
  const offset = Number(cursor.u64());
  const type = TYPES.get(number);
  if (type === undefined) {
    throw fail(
      `has the type ${OTHER_TYPES[number] ?? `number ${number}`}, which is not supported. ` +
        `Supported: ${Object.keys(TENSOR_TYPES).join(", ")}. Take the model in another form, as ` +
        "Q8_0 or Q4_K_M.",
    );
  }
  const values = shape.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(4 * values)) throw fail(`has the impossible shape [${shape}].`);
  if (shape.at(-1)! % type.values !== 0) {
    throw fail(
      `has rows of ${shape.at(-1)} values; ${type.name} needs a multiple of ${type.values}.`,
    );
  }
  return {
    name,
    file: 0,
    type: type.name,
    shape,
    offset,
    bytes: values / type.values * type.bytes,
  };
}

/** Turns offsets into those from the file's start, and makes sure that data lie inside it and apart. */
function placeTensors(
  source: ByteSource,
  tensors: TensorInfo[],
  dataStart: number,
  alignment: number,
): void {
  const fail = (tensor: TensorInfo, sentence: string) =>
    fileFailure(source.name, `tensor ${show(tensor.name)} ${sentence}`);
  for (const tensor of tensors) {
    if (tensor.offset % alignment !== 0) {
      throw fail(tensor, `starts at ${tensor.offset}, which is no multiple of ${alignment}.`);
    }
    tensor.offset += dataStart;
    const end = tensor.offset + tensor.bytes;
    if (end > source.size) {
      throw fail(
        tensor,
        `ends at byte ${end}, but the file has ${source.size}: it is cut off. Download it again.`,
      );
    }
  }
  const order = tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  for (const [i, tensor] of order.entries()) {
    const before = order[i - 1];
    if (before !== undefined && before.offset + before.bytes > tensor.offset) {
      throw fail(before, `and tensor ${show(tensor.name)} overlap.`);
    }
  }
}

function readVersion(cursor: GgufCursor, source: ByteSource): number {
  const fail = (sentence: string) => fileFailure(source.name, sentence);
  if (source.size < 24) throw fail("is too short for a GGUF file.");
  if (cursor.u32() !== 0x46554747) throw fail("is no GGUF file: it does not start with GGUF.");
  const version = cursor.u32();
  if (version === 2 || version === 3) return version;
  if (version % 0x10000 === 0) throw fail("is a big-endian GGUF file, which is not supported.");
  throw fail(`has GGUF version ${version}; versions 2 and 3 are supported.`);
}

function alignmentOf(metadata: GgufMetadata, source: ByteSource): number {
  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment === "number" && alignment >= 1 && alignment <= 1 << 20) {
    if (Number.isInteger(Math.log2(alignment))) return alignment;
  }
  throw fileFailure(
    source.name,
    `general.alignment is ${show(alignment)}, which is no power of two.`,
  );
}

/**
 * Reads the head of a GGUF file.
 * @throws {Failure} kind `model` that names the file, the tensor or key, and what is wrong
 */
export function readGguf(source: ByteSource): Gguf {
  const cursor = new GgufCursor(source);
  const version = readVersion(cursor, source);
  cursor.what = "the number of tensors";
  const tensorCount = cursor.count(33);
  cursor.what = "the number of metadata";
  const metadata = readMetadata(cursor, source, cursor.count(13));
  const alignment = alignmentOf(metadata, source);
  const tensors: TensorInfo[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    cursor.what = `the descriptions of its tensors (${i + 1} of ${tensorCount})`;
    const tensor = readTensor(cursor, source);
    if (names.has(tensor.name)) {
      throw fileFailure(source.name, `tensor ${show(tensor.name)} is there twice.`);
    }
    names.add(tensor.name);
    tensors.push(tensor);
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  placeTensors(source, tensors, dataStart, alignment);
  return { version, metadata, tensors, dataStart };
}
