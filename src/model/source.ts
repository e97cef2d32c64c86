// SPDX-License-Identifier: Apache-2.0
/** Finds a model's files and reads their headers; the weights themselves stay where they are. */
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { fileFailure, FileSource, parseJson, readFailure, readTextIfThere } from "./bytes.ts";
import { endTokensOf, parseConfig } from "./config.ts";
import { ggufEndTokens } from "./end_tokens.ts";
import { readGguf } from "./gguf.ts";
import { ggufConfig } from "./gguf_config.ts";
import type { ModelConfig, ModelSource, TensorPlace, TokenizerSource } from "./model.ts";
import { ggufNaming, huggingFaceNaming } from "./names.ts";
import { readSafetensors, readShardIndex } from "./safetensors.ts";
import { assignRoles, shapeOf, type StoredTensor, tensorsOf } from "./tensors.ts";

const INDEX = "model.safetensors.index.json";
const SINGLE = "model.safetensors";

/** A name for clients: that of the file, or of its folder where files are called like any other. */
function nameOf(path: string): string {
  const file = basename(path).replace(/\.gguf$/i, "");
  return /^(model|ggml-model.*)$/i.test(file) ? basename(dirname(path)) : file;
}

/** The header of a GGUF file. */
function openGguf(path: string): ModelSource {
  using source = new FileSource(path);
  const gguf = readGguf(source);
  const { config, interleaved } = ggufConfig(gguf, source);
  return {
    name: nameOf(path),
    config,
    files: [path],
    tensors: assignRoles(config, gguf.tensors, ggufNaming(config, interleaved), [path]),
    tokenizer: { kind: "gguf", metadata: gguf.metadata },
    endTokens: ggufEndTokens(gguf.metadata, config.vocabulary),
    chatTemplate: null,
  };
}

/** The tensors of one safetensors file, or of all that the index names. */
async function storedTensors(
  folder: string,
  names: readonly string[],
): Promise<{ files: string[]; stored: StoredTensor[] }> {
  const index = join(folder, INDEX);
  const text = names.includes(INDEX) ? await readTextIfThere(index) : null;
  const shards = text === null ? null : readShardIndex(text, index);
  const files = (shards?.files ?? [SINGLE]).map((name) => join(folder, name));
  const stored = files.flatMap((path, file) => {
    using source = new FileSource(path);
    return readSafetensors(source).map((tensor) => ({ ...tensor, file }));
  });
  const fileOf = new Map(stored.map((tensor) => [tensor.name, basename(files[tensor.file]!)]));
  for (const [tensor, file] of shards?.weightMap ?? []) {
    if (fileOf.get(tensor) !== file) {
      throw fileFailure(index, `tensor "${tensor}" should lie in ${file}, but is not there.`);
    }
  }
  return { files, stored };
}

async function readConfig(path: string): Promise<{ config: ModelConfig; endTokens: number[] }> {
  const text = await readTextIfThere(path);
  if (text === null) {
    throw fileFailure(
      path,
      "is missing: the folder of a model has config.json beside its weights.",
    );
  }
  return parseConfig(text, path);
}

const GenerationConfig = z.looseObject({
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
});

/** End tokens of generation_config.json together with those of config.json. */
async function endTokens(folder: string, config: ModelConfig, own: number[]): Promise<number[]> {
  const path = join(folder, "generation_config.json");
  const text = await readTextIfThere(path);
  const { data, error } = GenerationConfig.safeParse(text === null ? {} : parseJson(text, path));
  if (data === undefined) {
    throw fileFailure(path, `${error.issues[0]!.path.join(".")}: ${error.issues[0]!.message}.`);
  }
  const ids = [...endTokensOf(data.eos_token_id), ...own];
  return [...new Set(ids)].filter((id) => id >= 0 && id < config.vocabulary).sort((a, b) => a - b);
}

async function huggingFaceTokenizer(folder: string): Promise<TokenizerSource | null> {
  const tokenizerJson = await readTextIfThere(join(folder, "tokenizer.json"));
  if (tokenizerJson === null) return null;
  const tokenizerConfigJson = await readTextIfThere(join(folder, "tokenizer_config.json"));
  return { kind: "huggingface", tokenizerJson, tokenizerConfigJson };
}

/** The folder of a Hugging Face model. */
async function openFolder(folder: string, names: readonly string[]): Promise<ModelSource> {
  const { config, endTokens: own } = await readConfig(join(folder, "config.json"));
  const { files, stored } = await storedTensors(folder, names);
  const tokenizer = await huggingFaceTokenizer(folder);
  if (tokenizer === null) {
    throw fileFailure(
      folder,
      "has no tokenizer.json. A tokenizer in another form (tokenizer.model, vocab.json) must be " +
        "converted first: transformers' AutoTokenizer saves it with save_pretrained.",
    );
  }
  return {
    name: basename(folder),
    config,
    files,
    tensors: assignRoles(config, stored, huggingFaceNaming(config), files),
    tokenizer,
    endTokens: await endTokens(folder, config, own),
    chatTemplate: await readTextIfThere(join(folder, "chat_template.jinja")),
  };
}

/** What to say of a folder without anything to load. */
function nothingToLoad(folder: string, names: readonly string[]): Error {
  const ggufs = names.filter((name) => /\.gguf$/i.test(name));
  if (ggufs.length > 1) {
    return fileFailure(folder, `has several GGUF files; name one: ${ggufs.sort().join(", ")}.`);
  }
  if (names.some((name) => /\.(bin|pth?|ckpt)$/.test(name))) {
    return fileFailure(folder, "has weights in PyTorch's form; convert them to safetensors first.");
  }
  return fileFailure(folder, `has no ${SINGLE}, no ${INDEX} and no GGUF file.`);
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map((entry) => entry.name);
  } catch (error) {
    throw readFailure(folder, error);
  }
}

/**
 * Opens a model: a folder with config.json, safetensors and tokenizer.json, a GGUF file, or a folder with
 * one GGUF file. Reads headers only.
 * @throws {Failure} kind `model` that names the file, the tensor or key, and what to do
 */
export async function openModel(path: string): Promise<ModelSource> {
  const full = resolve(path);
  let isDirectory: boolean;
  try {
    ({ isDirectory } = await Deno.stat(full));
  } catch (error) {
    throw readFailure(full, error);
  }
  if (!isDirectory) {
    if (!/\.safetensors$/i.test(full)) return openGguf(full);
    throw fileFailure(
      full,
      "holds weights only. Give its folder, with config.json and tokenizer.json.",
    );
  }
  const names = await listFolder(full);
  if (names.includes(INDEX) || names.includes(SINGLE)) return await openFolder(full, names);
  const ggufs = names.filter((name) => /\.gguf$/i.test(name));
  if (ggufs.length === 1) return openGguf(join(full, ggufs[0]!));
  throw nothingToLoad(full, names);
}

/**
 * The shape of a model with seeded random weights in place of its files (the seed is the engine's). With a
 * tokenizer.json beside config.json that may be read, texts are real; otherwise every byte is a token.
 * @param path of a config.json, or of the folder it lies in
 * @throws {Failure} kind `model`
 */
export async function dummyModel(path: string): Promise<ModelSource> {
  const full = resolve(path);
  const isDirectory = await Deno.stat(full).then((info) => info.isDirectory, () => false);
  const file = isDirectory ? join(full, "config.json") : full;
  const { config, endTokens } = await readConfig(file);
  if (config.vocabulary < 256) {
    throw fileFailure(file, `vocab_size is ${config.vocabulary}; dummy weights need 256 or more.`);
  }
  const tensors = [...tensorsOf(config)].map(({ role, layer }): TensorPlace => {
    const shape = shapeOf(role, config)!;
    const [rows, columns] = shape.length === 1 ? [1, shape[0]!] : [shape[0]!, shape[1]!];
    return { role, layer, file: -1, type: "BF16", rows, columns, interleavedHeads: 0, offset: 0 };
  });
  // Permission may have been given for config.json alone.
  const tokenizer = await huggingFaceTokenizer(dirname(file)).catch(() => null);
  return {
    name: `dummy-${basename(dirname(file))}`,
    config,
    files: [],
    tensors,
    tokenizer: tokenizer ?? { kind: "bytes" },
    endTokens: tokenizer === null
      ? []
      : endTokens.filter((id) => id >= 0 && id < config.vocabulary),
    chatTemplate: null,
  };
}
