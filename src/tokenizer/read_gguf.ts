// SPDX-License-Identifier: Apache-2.0
/** Reads the tokenizer that lies in the metadata of a GGUF file. */
import { Failure } from "../errors.ts";
import { buildSpec, type TokenizerParts, withinRows } from "./build_spec.ts";
import { GgufMetadata } from "./gguf_metadata.ts";
import { ggufPreTokenizer, ggufPreTokenizerNames } from "./gguf_pre_tokenizers.ts";
import { MAX_MERGES } from "./merge.ts";
import { addPair, createPairTable } from "./pair_table.ts";
import type { LoadedTokenizer } from "./read_huggingface.ts";
import { translateRegex } from "./regex.ts";
import { mergesFromScores } from "./score_merges.ts";
import type { AddedToken } from "./spec.ts";
import { Vocabulary } from "./vocabulary.ts";

/** `tokenizer.ggml.token_type`. */
const TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const SPACE = "\u2581";

/** @throws {Failure} kind `model` naming the key that is wrong. */
export function readGguf(
  values: ReadonlyMap<string, unknown>,
  rows = Infinity,
): LoadedTokenizer {
  const metadata = new GgufMetadata(values);
  const kind = metadata.string("tokenizer.ggml.model");
  const tokens = readTokens(metadata);
  const parts = partsOf(kind, metadata, tokens);
  const bos = metadata.id("tokenizer.ggml.bos_token_id", tokens.texts.length);
  const eos = metadata.id("tokenizer.ggml.eos_token_id", tokens.texts.length);
  const addBos = metadata.flag("tokenizer.ggml.add_bos_token") ?? parts.addBos;
  const addEos = metadata.flag("tokenizer.ggml.add_eos_token") ?? false;
  return {
    spec: buildSpec({
      ...parts,
      vocabulary: tokens.vocabulary,
      added: withinRows(rows, tokens.vocabulary, tokens.added),
      special: [],
      prefix: addBos && bos !== null ? [bos] : [],
      suffix: addEos && eos !== null ? [eos] : [],
    }),
    endTokens: readEndTokens(metadata, tokens),
    templates: readTemplates(metadata),
    variables: readVariables(metadata, tokens),
  };
}

interface Tokens {
  texts: ArrayLike<string>;
  types: ArrayLike<number>;
  /** Tokens that merges and characters may give. */
  vocabulary: Vocabulary;
  added: AddedToken[];
}

function readTokens(metadata: GgufMetadata): Tokens {
  const texts = metadata.strings("tokenizer.ggml.tokens");
  const types = metadata.numbers("tokenizer.ggml.token_type", texts.length) ??
    new Int32Array(texts.length).fill(TYPE.normal);
  const vocabulary = new Vocabulary(texts.length);
  const added: AddedToken[] = [];
  for (let id = 0; id < texts.length; id++) {
    const content = texts[id]!;
    const type = types[id]!;
    const special = type === TYPE.control || type === TYPE.unknown;
    if (special || type === TYPE.userDefined) {
      const flags = { normalized: false, singleWord: false, lstrip: false, rstrip: false };
      if (content !== "") added.push({ id, content, special, ...flags });
    } else if (type !== TYPE.unused) {
      vocabulary.set(content, id);
    }
  }
  return { texts, types, vocabulary, added };
}

type Rules = Omit<TokenizerParts, "vocabulary" | "added" | "special" | "prefix" | "suffix"> & {
  addBos: boolean;
};

function partsOf(kind: string, metadata: GgufMetadata, tokens: Tokens): Rules {
  if (kind === "gpt2") return bytePairRules(metadata, tokens);
  if (kind === "llama") return sentencePieceRules(metadata, tokens);
  throw new Failure(
    "model",
    `The GGUF file's tokenizer is of the kind "${kind}" (tokenizer.ggml.model). ` +
      'This server reads "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE).',
  );
}

function bytePairRules(metadata: GgufMetadata, tokens: Tokens): Rules {
  const name = metadata.stringOr("tokenizer.ggml.pre", "default");
  const pre = ggufPreTokenizer(name);
  if (!pre) {
    throw new Failure(
      "model",
      `The GGUF file's tokenizer.ggml.pre is "${name}", which this server does not know. It knows ` +
        `${ggufPreTokenizerNames().join(", ")}. The model's folder with tokenizer.json may load.`,
    );
  }
  const splits = pre.splits.map((regex) => ({
    kind: "split" as const,
    pattern: { regex: translateRegex(regex) },
    behavior: "isolated" as const,
    invert: false,
  }));
  const prefixed = metadata.flag("tokenizer.ggml.add_space_prefix") ?? false;
  return {
    alphabet: "bytes",
    merges: readMerges(metadata, tokens.vocabulary),
    byteFallback: false,
    ignoreMerges: pre.ignoreMerges,
    unknown: -1,
    fuseUnknown: false,
    normalizers: prefixed ? [{ kind: "prepend", text: " " }] : [],
    splits,
    decode: { stripSpaces: 0, stripFirstToken: false },
    textOfToken: (token) => token,
    addBos: pre.addBos,
  };
}

function readMerges(metadata: GgufMetadata, vocabulary: Vocabulary): Int32Array {
  const key = "tokenizer.ggml.merges";
  const merges = metadata.strings(key);
  if (merges.length >= MAX_MERGES) throw metadata.wrong(key, `shorter than ${MAX_MERGES}`);
  const table = createPairTable(merges.length);
  for (let rank = 0; rank < merges.length; rank++) {
    const text = merges[rank]!;
    // The first character may be a space's stand-in but never a space.
    const space = text.indexOf(" ", 1);
    const left = vocabulary.getPart(text, 0, Math.max(space, 0));
    const right = vocabulary.getPart(text, space + 1, text.length);
    const merged = vocabulary.getJoined(text, 0, Math.max(space, 0), text, space + 1, text.length);
    if (space < 0 || left < 0 || right < 0 || merged < 0) {
      throw metadata.wrong(`${key}[${rank}]`, "two tokens whose join is a token too");
    }
    addPair(table, left, right, rank, merged);
  }
  return table;
}

function sentencePieceRules(metadata: GgufMetadata, tokens: Tokens): Rules {
  const scores = metadata.numbers("tokenizer.ggml.scores", tokens.texts.length) ??
    new Float32Array(tokens.texts.length);
  const prefixed = metadata.flag("tokenizer.ggml.add_space_prefix") ?? true;
  const mergeable = (id: number) => tokens.types[id] !== TYPE.byte;
  return {
    alphabet: "characters",
    merges: mergesFromScores(tokens.vocabulary, scores, mergeable),
    byteFallback: true,
    ignoreMerges: false,
    unknown: metadata.id("tokenizer.ggml.unknown_token_id", tokens.texts.length) ?? -1,
    fuseUnknown: false,
    normalizers: [
      ...(prefixed ? [{ kind: "prepend" as const, text: SPACE }] : []),
      { kind: "replace", pattern: { text: " " }, content: SPACE },
    ],
    splits: [],
    decode: { stripSpaces: prefixed ? 1 : 0, stripFirstToken: false },
    textOfToken: (token) => token.replaceAll(SPACE, " "),
    addBos: true,
  };
}

function readEndTokens(metadata: GgufMetadata, tokens: Tokens): number[] {
  const ends = new Set<number>();
  for (const name of ["eos", "eot", "eom"]) {
    const id = metadata.id(`tokenizer.ggml.${name}_token_id`, tokens.texts.length);
    if (id !== null) ends.add(id);
  }
  return [...ends];
}

function readVariables(metadata: GgufMetadata, tokens: Tokens): Record<string, string> {
  const keys = {
    bos_token: "bos_token_id",
    eos_token: "eos_token_id",
    unk_token: "unknown_token_id",
    pad_token: "padding_token_id",
  };
  const variables: Record<string, string> = {};
  for (const [name, key] of Object.entries(keys)) {
    const id = metadata.id(`tokenizer.ggml.${key}`, tokens.texts.length);
    if (id !== null) variables[name] = tokens.texts[id]!;
  }
  return variables;
}

function readTemplates(metadata: GgufMetadata): Map<string, string> {
  const prefix = "tokenizer.chat_template";
  const templates = new Map<string, string>();
  if (metadata.has(prefix)) templates.set("default", metadata.string(prefix));
  for (const key of metadata.keys()) {
    if (key.startsWith(prefix + ".")) {
      templates.set(key.slice(prefix.length + 1), metadata.string(key));
    }
  }
  return templates;
}
