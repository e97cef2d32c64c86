// SPDX-License-Identifier: Apache-2.0
/** Writes small GGUF and safetensors files, right ones and wrong ones. */

/** A metadata value with its type: what `metadata` of {@linkcode ggufBytes} takes. */
export type GgufValue =
  | { type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64"; value: number }
  | { type: "u64" | "i64"; value: bigint }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string | Uint8Array }
  | {
    type: "array";
    of: keyof typeof NUMBERS;
    values: readonly (number | bigint | string | Uint8Array)[];
  };

/** A tensor to write: `dimensions` fastest first, as in the file. */
export interface GgufTensor {
  name: string;
  type: number;
  dimensions: readonly (number | bigint)[];
  /** Bytes from the start of the data section; by default after the one before. */
  offset?: number;
  data: Uint8Array;
}

const NUMBERS = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
};

class Writer {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.length += bytes.length;
  }

  #number(bytes: number, write: (view: DataView) => void): void {
    const view = new DataView(new ArrayBuffer(bytes));
    write(view);
    this.bytes(new Uint8Array(view.buffer));
  }

  u32(value: number): void {
    this.#number(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: number | bigint): void {
    this.#number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }

  string(text: string | Uint8Array): void {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  scalar(type: string, value: unknown): void {
    const n = Number(value);
    if (type === "string") this.string(value as string);
    else if (type === "u8" || type === "bool") this.#number(1, (v) => v.setUint8(0, n));
    else if (type === "i8") this.#number(1, (v) => v.setInt8(0, n));
    else if (type === "u16") this.#number(2, (v) => v.setUint16(0, n, true));
    else if (type === "i16") this.#number(2, (v) => v.setInt16(0, n, true));
    else if (type === "u32") this.u32(n);
    else if (type === "i32") this.#number(4, (v) => v.setInt32(0, n, true));
    else if (type === "f32") this.#number(4, (v) => v.setFloat32(0, n, true));
    else if (type === "f64") this.#number(8, (v) => v.setFloat64(0, n, true));
    else if (type === "u64") this.u64(value as bigint);
    else if (type === "i64") {
      this.#number(8, (v) => v.setBigInt64(0, BigInt(value as bigint), true));
    } else throw new Error(`no scalar ${type}`);
  }

  pad(alignment: number): void {
    this.bytes(new Uint8Array((alignment - this.length % alignment) % alignment));
  }

  join(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }
}

/** Bytes of a GGUF file. */
export function ggufBytes(
  metadata: Readonly<Record<string, GgufValue>> | readonly [string, GgufValue][],
  tensors: readonly GgufTensor[] = [],
  { version = 3, alignment = 32 }: { version?: number; alignment?: number } = {},
): Uint8Array<ArrayBuffer> {
  const out = new Writer();
  const entries = Array.isArray(metadata) ? metadata : Object.entries(metadata);
  out.u32(0x46554747);
  out.u32(version);
  out.u64(tensors.length);
  out.u64(entries.length);
  for (const [key, value] of entries) {
    out.string(key);
    out.u32(NUMBERS[value.type as keyof typeof NUMBERS]);
    if (value.type === "array") {
      out.u32(NUMBERS[value.of as keyof typeof NUMBERS]);
      out.u64(value.values.length);
      for (const item of value.values) out.scalar(value.of, item);
    } else out.scalar(value.type, value.value);
  }
  let end = 0;
  const offsets = tensors.map((tensor) => {
    const offset = tensor.offset ?? end;
    end = Math.ceil((offset + tensor.data.length) / alignment) * alignment;
    return offset;
  });
  tensors.forEach((tensor, i) => {
    out.string(tensor.name);
    out.u32(tensor.dimensions.length);
    for (const size of tensor.dimensions) out.u64(size);
    out.u32(tensor.type);
    out.u64(offsets[i]!);
  });
  if (tensors.length > 0) out.pad(alignment);
  const head = out.join();
  const file = new Uint8Array(head.length + end);
  file.set(head);
  tensors.forEach((tensor, i) => file.set(tensor.data, head.length + offsets[i]!));
  return file;
}

/** Values and bytes of a block by ggml's number of the type. */
export const GGML_BLOCKS: Readonly<Record<number, readonly [values: number, bytes: number]>> = {
  0: [1, 4],
  1: [1, 2],
  2: [32, 18],
  3: [32, 20],
  8: [32, 34],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
  30: [1, 2],
};

/** A tensor of zeros. */
export function zeros(name: string, dimensions: readonly number[], type = 0): GgufTensor {
  const [values, bytes] = GGML_BLOCKS[type]!;
  const count = dimensions.reduce((product, size) => product * size, 1);
  return { name, type, dimensions, data: new Uint8Array(count / values * bytes) };
}

/** Figures of {@linkcode tinyGguf}. */
export interface TinyGguf {
  architecture?: string;
  tied?: boolean;
  matrixType?: number;
  /** More metadata, or others in their place. */
  metadata?: Record<string, GgufValue>;
  /** More tensors. */
  extra?: readonly GgufTensor[];
  /** Tensors to leave out. */
  without?: readonly string[];
}

export const TINY = {
  layers: 2,
  hidden: 64,
  intermediate: 128,
  heads: 4,
  kvHeads: 2,
  vocabulary: 64,
};

function tinyMetadata(architecture: string): Record<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const tokens = Array.from(
    { length: TINY.vocabulary },
    (_, i) => i === 7 ? "<|im_end|>" : `Ġtoken${i}`,
  );
  return {
    "general.architecture": { type: "string", value: architecture },
    "general.name": { type: "string", value: "Tiny" },
    [`${architecture}.block_count`]: u32(TINY.layers),
    [`${architecture}.context_length`]: u32(2048),
    [`${architecture}.embedding_length`]: u32(TINY.hidden),
    [`${architecture}.feed_forward_length`]: u32(TINY.intermediate),
    [`${architecture}.attention.head_count`]: u32(TINY.heads),
    [`${architecture}.attention.head_count_kv`]: u32(TINY.kvHeads),
    [`${architecture}.attention.layer_norm_rms_epsilon`]: { type: "f32", value: 1e-5 },
    [`${architecture}.rope.freq_base`]: { type: "f32", value: 10_000 },
    "tokenizer.ggml.model": { type: "string", value: "gpt2" },
    "tokenizer.ggml.tokens": { type: "array", of: "string", values: tokens },
    "tokenizer.ggml.token_type": { type: "array", of: "i32", values: tokens.map(() => 1) },
    "tokenizer.ggml.merges": { type: "array", of: "string", values: ["Ġ t", "to k"] },
    "tokenizer.ggml.eos_token_id": u32(2),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
  };
}

function tinyTensors(architecture: string, matrix: number, tied: boolean): GgufTensor[] {
  const { hidden, intermediate, layers, vocabulary } = TINY;
  const keys = hidden * TINY.kvHeads / TINY.heads, headDim = hidden / TINY.heads;
  const blocks = Array.from({ length: layers }, (_, i) => {
    const of = (part: string, dimensions: number[], type = matrix) =>
      zeros(`blk.${i}.${part}`, dimensions, dimensions.length === 1 ? 0 : type);
    return [
      of("attn_norm.weight", [hidden]),
      of("attn_q.weight", [hidden, hidden]),
      of("attn_k.weight", [hidden, keys]),
      of("attn_v.weight", [hidden, keys]),
      of("attn_output.weight", [hidden, hidden]),
      of("ffn_norm.weight", [hidden]),
      of("ffn_gate.weight", [hidden, intermediate]),
      of("ffn_up.weight", [hidden, intermediate]),
      of("ffn_down.weight", [intermediate, hidden]),
      ...(architecture === "qwen2"
        ? [of("attn_q.bias", [hidden]), of("attn_k.bias", [keys]), of("attn_v.bias", [keys])]
        : []),
      ...(architecture === "qwen3"
        ? [of("attn_q_norm.weight", [headDim]), of("attn_k_norm.weight", [headDim])]
        : []),
    ];
  });
  return [
    zeros("token_embd.weight", [hidden, vocabulary], matrix),
    zeros("output_norm.weight", [hidden]),
    ...(tied ? [] : [zeros("output.weight", [hidden, vocabulary], matrix)]),
    ...blocks.flat(),
  ];
}

/** A whole GGUF model of two layers with weights of zero. */
export function tinyGguf(options: TinyGguf = {}): Uint8Array<ArrayBuffer> {
  const { architecture = "llama", tied = true, matrixType = 8, without = [] } = options;
  const tensors = tinyTensors(architecture, matrixType, tied).filter((t) =>
    !without.includes(t.name)
  );
  return ggufBytes({ ...tinyMetadata(architecture), ...options.metadata }, [
    ...tensors,
    ...(options.extra ?? []),
  ]);
}

/** Bytes of a safetensors file with any header and `dataBytes` of zeros. */
export function safetensorsBytes(header: unknown, dataBytes = 0): Uint8Array<ArrayBuffer> {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const json = new TextEncoder().encode(text);
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}
