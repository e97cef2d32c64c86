// SPDX-License-Identifier: Apache-2.0
/**
 * What tells a model and its tokenizer from others: 32 bytes each. Reading gigabytes of weights at every start
 * would take too long, so of the weights a sample goes in: the size of every file, and a piece of every tensor.
 */
import { createHash, type Hash } from "node:crypto";
import type { ModelSource, TokenizerSource } from "../model/model.ts";

/** Read of each tensor, at its start. */
const SAMPLE_BYTES = 2048;

/** JSON of values that may hold typed arrays, maps and bigints. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, part) => {
    if (typeof part === "bigint") return String(part);
    if (part instanceof Map) return [...part];
    return ArrayBuffer.isView(part) ? Array.from(part as Float32Array) : part;
  });
}

async function addWeights(hash: Hash, { files, tensors }: ModelSource): Promise<void> {
  const sample = new Uint8Array(SAMPLE_BYTES);
  for (const [number, path] of files.entries()) {
    using file = await Deno.open(path);
    hash.update(`\n${(await file.stat()).size}\n`);
    for (const tensor of tensors) {
      if (tensor.file !== number) continue;
      await file.seek(tensor.offset, Deno.SeekMode.Start);
      const count = await file.read(sample) ?? 0;
      hash.update(sample.subarray(0, count));
    }
  }
}

function addTokenizer(hash: Hash, tokenizer: TokenizerSource): void {
  if (tokenizer.kind !== "gguf") return void hash.update(textOf(tokenizer));
  for (const [key, value] of tokenizer.metadata) {
    if (!key.startsWith("tokenizer.")) continue;
    // Vocabularies: a hundred thousand texts.
    hash.update(`\n${key}\n`).update(Array.isArray(value) ? value.join("\0") : textOf(value));
  }
}

/**
 * The identity of a model whose headers were read.
 * @param seed of dummy weights
 */
export async function identityOf(source: ModelSource, seed = 0): Promise<Uint8Array> {
  const model = createHash("sha256").update(textOf([source.config, source.tensors]));
  if (source.files.length === 0) model.update(`dummy ${seed}`);
  await addWeights(model, source);
  const tokenizer = createHash("sha256");
  addTokenizer(tokenizer, source.tokenizer);
  const identity = new Uint8Array(64);
  identity.set(model.digest(), 0);
  identity.set(tokenizer.digest(), 32);
  return identity;
}
