// SPDX-License-Identifier: Apache-2.0
/** Headers of safetensors files: where each tensor lies, checked against the file's size. */
import { type ByteSource, fileFailure, parseJson, show } from "./bytes.ts";
import type { StoredTensor } from "./tensors.ts";

/** Longest header that is read; those of the largest models take less than 1 MiB. */
const MAX_HEADER_BYTES = 32 * 1024 * 1024;

/** Bits of a value. Types that nothing here computes with are listed to check the offsets. */
const DTYPE_BITS = new Map<string, number>([
  ...["F64", "I64", "U64", "C64"].map((name) => [name, 64] as const),
  ...["F32", "I32", "U32"].map((name) => [name, 32] as const),
  ...["F16", "BF16", "I16", "U16"].map((name) => [name, 16] as const),
  ...["I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"].map((name) => [name, 8] as const),
]);

interface Entry extends StoredTensor {
  bytes: number;
}

function readHeaderText(source: ByteSource): { text: string; dataStart: number } {
  const fail = (sentence: string) => fileFailure(source.name, sentence);
  if (source.size < 10) throw fail("is too short for a safetensors file.");
  const length = new DataView(source.read(0, 8).buffer).getBigUint64(0, true);
  if (length > BigInt(source.size - 8)) {
    throw fail(
      `is no safetensors file, or is cut off: its header should take ${length} bytes and there are ` +
        `${source.size - 8}. Download it again.`,
    );
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw fail(`has a header of ${length} bytes; at most ${MAX_HEADER_BYTES} are read.`);
  }
  const bytes = source.read(8, Number(length));
  if (bytes[0] !== 0x7b) throw fail("is no safetensors file: its header does not start with {.");
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { text, dataStart: 8 + bytes.length };
  } catch (cause) {
    throw fileFailure(source.name, "has a header that is not UTF-8.", cause);
  }
}

/** Keys of the outermost object of valid JSON in the order of the text, repeated ones included. */
function outerKeys(json: string): string[] {
  const keys: string[] = [];
  let depth = 0, expectKey = false;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    if (char === '"') {
      const start = i++;
      while (json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
      if (expectKey) keys.push(JSON.parse(json.slice(start, i + 1)));
      expectKey = false;
    } else if (char === "{" || char === "[") {
      depth++;
      expectKey = depth === 1;
    } else if (char === "}" || char === "]") depth--;
    else if (char === ",") expectKey = depth === 1;
  }
  return keys;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function readEntry(source: ByteSource, name: string, value: unknown, dataStart: number): Entry {
  const fail = (sentence: string) => fileFailure(source.name, `tensor ${show(name)} ${sentence}`);
  if (typeof value !== "object" || value === null) throw fail("has no description.");
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  const bits = typeof dtype === "string" ? DTYPE_BITS.get(dtype) : undefined;
  if (bits === undefined) {
    throw fail(`has the unknown type ${show(dtype)}; F32, F16 and BF16 are supported.`);
  }
  if (!Array.isArray(shape) || shape.length > 8 || !shape.every(isCount)) {
    throw fail(`has a shape that is none: ${show(shape)}.`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail(`has offsets that are none: ${show(offsets)}.`);
  }
  const [begin, end] = offsets as [number, number];
  const values = shape.reduce((product, size) => product * size, 1);
  const bytes = values * bits / 8;
  if (!Number.isSafeInteger(bytes) || end - begin !== bytes) {
    throw fail(
      `says that it takes ${end - begin} bytes, but ${dtype} of shape [${shape}] takes ${bytes}.`,
    );
  }
  if (dataStart + end > source.size) {
    throw fail(
      `ends at byte ${dataStart + end}, but the file has ${source.size}: it is cut off. ` +
        "Download it again.",
    );
  }
  return { name, file: 0, type: dtype as string, shape, offset: dataStart + begin, bytes };
}

/** The format wants tensors side by side over the whole file: overlaps and holes mean damage. */
function checkLayout(source: ByteSource, entries: readonly Entry[], dataStart: number): void {
  let end = dataStart, previous = "";
  for (const entry of entries.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (entry.offset < end) {
      throw fileFailure(source.name, `tensors ${show(previous)} and ${show(entry.name)} overlap.`);
    }
    if (entry.offset > end) {
      throw fileFailure(
        source.name,
        `bytes ${end} to ${entry.offset} before tensor ${show(entry.name)} belong to no tensor.`,
      );
    }
    end = entry.offset + entry.bytes;
    previous = entry.name;
  }
  if (end !== source.size) {
    throw fileFailure(source.name, `the last ${source.size - end} bytes belong to no tensor.`);
  }
}

/**
 * Reads the header of a safetensors file. Offsets are from the start of the file, file indexes 0.
 * @throws {Failure} kind `model` that names the file, the tensor and what is wrong
 */
export function readSafetensors(source: ByteSource): StoredTensor[] {
  const { text, dataStart } = readHeaderText(source);
  const header = parseJson(text, source.name) as Record<string, unknown>;
  const seen = new Set<string>();
  for (const key of outerKeys(text)) {
    if (seen.has(key)) throw fileFailure(source.name, `tensor ${show(key)} is there twice.`);
    seen.add(key);
  }
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => readEntry(source, name, value, dataStart));
  checkLayout(source, entries, dataStart);
  return entries;
}

/**
 * File names of a model.safetensors.index.json, each once, and the file of each tensor.
 * @throws {Failure} kind `model`
 */
export function readShardIndex(
  text: string,
  name: string,
): { files: string[]; weightMap: Map<string, string> } {
  const index = parseJson(text, name) as { weight_map?: unknown } | null;
  const map = typeof index === "object" ? index?.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw fileFailure(name, 'has no "weight_map".');
  }
  const weightMap = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || !/^[^/\\\0]+\.safetensors$/.test(file)) {
      throw fileFailure(
        name,
        `tensor ${show(tensor)} should lie in ${show(file)}, which is no name of a ` +
          "safetensors file in the same folder.",
      );
    }
    weightMap.set(tensor, file);
  }
  const files = [...new Set(weightMap.values())].sort();
  if (files.length === 0) throw fileFailure(name, "names no tensors.");
  return { files, weightMap };
}
