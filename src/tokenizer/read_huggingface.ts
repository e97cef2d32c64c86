// SPDX-License-Identifier: Apache-2.0
/** Reads `tokenizer.json` and `tokenizer_config.json` of a Hugging Face folder. */
import { Failure } from "../errors.ts";
import { buildSpec, withinRows } from "./build_spec.ts";
import { Json } from "./json.ts";
import { MAX_MERGES } from "./merge.ts";
import { addPair, createPairTable } from "./pair_table.ts";
import { readAroundText } from "./read_post_processor.ts";
import { readDecoder, readNormalizer, readPreTokenizer } from "./read_steps.ts";
import type { AddedToken, TokenizerSpec } from "./spec.ts";
import { Vocabulary } from "./vocabulary.ts";

/** A tokenizer and what a model's chats need beside it. */
export interface LoadedTokenizer {
  spec: TokenizerSpec;
  /** End tokens that the tokenizer's files name. */
  endTokens: number[];
  /** Chat templates by name; the usual one is "default". */
  templates: ReadonlyMap<string, string>;
  /** Special tokens as templates know them: bos_token, eos_token, … */
  variables: Record<string, string>;
}

/** Names of special tokens in `tokenizer_config.json`. */
const SPECIAL_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
];

/** @throws {Failure} kind `model` naming the member that is wrong. */
export function readHuggingFace(
  tokenizerJson: string,
  tokenizerConfigJson: string | null,
  rows = Infinity,
): LoadedTokenizer {
  const file = Json.parse(tokenizerJson, "tokenizer.json");
  const config = tokenizerConfigJson === null
    ? new Json({}, "tokenizer_config.json")
    : Json.parse(tokenizerConfigJson, "tokenizer_config.json");
  const model = readModelKind(file);
  const vocabulary = readVocabulary(model.get("vocab"));
  const variables = readVariables(config);
  const added = withinRows(
    rows,
    vocabulary,
    readAdded(file, config, vocabulary, Object.values(variables)),
  );
  const idOf = (content: string) =>
    added.find((token) => token.content === content)?.id ?? idIn(vocabulary, content);

  const preTokenizer = readPreTokenizer(file.get("pre_tokenizer"));
  const decoder = readDecoder(file.get("decoder"));
  const byteFallback = model.get("byte_fallback").boolean(false);
  const spec = buildSpec({
    alphabet: preTokenizer.byteLevel ? "bytes" : "characters",
    vocabulary,
    added,
    special: [],
    merges: readMerges(model.get("merges"), vocabulary),
    byteFallback,
    ignoreMerges: model.get("ignore_merges").boolean(false),
    unknown: readUnknown(model, vocabulary),
    fuseUnknown: model.get("fuse_unk").boolean(false),
    normalizers: readNormalizer(file.get("normalizer")),
    splits: preTokenizer.splits,
    ...readAroundText(file.get("post_processor"), config, variables, idOf),
    decode: decoder.rules,
    textOfToken: decoder.textOfToken,
  });
  const end = variables.eos_token === undefined ? undefined : idOf(variables.eos_token);
  return {
    spec,
    endTokens: end === undefined ? [] : [end],
    templates: readTemplates(config.get("chat_template")),
    variables,
  };
}

function readModelKind(file: Json): Json {
  const model = file.get("model");
  const type = model.get("type");
  // Files from before there was a type have merges when they are BPE.
  const kind = type.isMissing && !model.get("merges").isMissing ? "BPE" : type.string();
  if (kind !== "BPE") {
    throw new Failure(
      "model",
      `The tokenizer is of the kind "${kind}" (${model.place}.type). This server reads BPE only.`,
    );
  }
  for (const affix of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model.get(affix).stringOr("") !== "") {
      throw new Failure("model", `${model.place}.${affix} is set, which is not supported.`);
    }
  }
  return model;
}

function readVocabulary(vocab: Json): Vocabulary {
  const object = vocab.object();
  const tokens = Object.keys(object);
  const vocabulary = new Vocabulary(tokens.length);
  for (const token of tokens) {
    const id = object[token];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > 2 ** 30) {
      throw vocab.get(token).wrong("a token id");
    }
    vocabulary.set(token, id);
  }
  return vocabulary;
}

function idIn(vocabulary: Vocabulary, token: string): number | undefined {
  const id = vocabulary.get(token);
  return id < 0 ? undefined : id;
}

/** Merges are texts, "left right", or pairs. Their order is their rank. */
function readMerges(merges: Json, vocabulary: Vocabulary): Int32Array {
  if (!Array.isArray(merges.value)) throw merges.wrong("a list");
  const list = merges.value as unknown[];
  if (list.length >= MAX_MERGES) throw merges.wrong(`shorter than ${MAX_MERGES}`);
  const table = createPairTable(list.length);
  list.forEach((item, rank) => {
    if (!addMerge(table, vocabulary, item, rank)) throw badMerge(merges, rank);
  });
  return table;
}

function addMerge(table: Int32Array, vocabulary: Vocabulary, item: unknown, rank: number): boolean {
  let [left, right]: [unknown, unknown] = ["", ""];
  let [leftEnd, rightStart] = [0, 0];
  if (typeof item === "string") {
    left = right = item;
    leftEnd = item.indexOf(" ");
    rightStart = leftEnd + 1;
    if (leftEnd < 0 || item.indexOf(" ", rightStart) >= 0) return false;
  } else if (Array.isArray(item) && item.length === 2) {
    [left, right] = item;
    if (typeof left === "string") leftEnd = left.length;
  }
  if (typeof left !== "string" || typeof right !== "string") return false;
  const end = right.length;
  const a = vocabulary.getPart(left, 0, leftEnd);
  const b = vocabulary.getPart(right, rightStart, end);
  const merged = vocabulary.getJoined(left, 0, leftEnd, right, rightStart, end);
  if (a < 0 || b < 0 || merged < 0) return false;
  addPair(table, a, b, rank, merged);
  return true;
}

function badMerge(merges: Json, rank: number): Failure {
  return new Failure(
    "model",
    `${merges.place}[${rank}] must be two tokens of the vocabulary whose join is a token too.`,
  );
}

function readUnknown(model: Json, vocabulary: Vocabulary): number {
  const unknown = model.get("unk_token");
  if (unknown.isMissing) return -1;
  return vocabulary.get(unknown.string());
}

/** A special token is a text, or an object with its content; missing ones are left out. */
function readVariables(config: Json): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const name of SPECIAL_NAMES) {
    const token = config.get(name);
    if (token.isMissing) continue;
    variables[name] = typeof token.value === "string" ? token.value : token.get("content").string();
  }
  return variables;
}

function readAddedToken(token: Json, id: number): AddedToken {
  return {
    id,
    content: token.get("content").string(),
    special: token.get("special").boolean(false),
    normalized: token.get("normalized").boolean(false),
    singleWord: token.get("single_word").boolean(false),
    lstrip: token.get("lstrip").boolean(false),
    rstrip: token.get("rstrip").boolean(false),
  };
}

/** Both files' added tokens, and the named special ones that neither lists. */
function readAdded(
  file: Json,
  config: Json,
  vocabulary: Vocabulary,
  named: readonly string[],
): AddedToken[] {
  const added = new Map<string, AddedToken>();
  const add = (token: AddedToken) => {
    if (token.content === "" || added.has(token.content)) return;
    added.set(token.content, { ...token, id: idIn(vocabulary, token.content) ?? token.id });
  };
  const list = file.get("added_tokens");
  if (!list.isMissing) {
    list.array().forEach((token) => add(readAddedToken(token, token.get("id").id())));
  }
  const decoder = config.get("added_tokens_decoder");
  if (!decoder.isMissing) {
    for (const key of Object.keys(decoder.object())) {
      const token = decoder.get(key);
      add(readAddedToken(token, new Json(/^\d+$/.test(key) ? Number(key) : key, token.place).id()));
    }
  }
  for (const content of named) {
    const token = added.get(content);
    const id = idIn(vocabulary, content);
    if (token) token.special = true;
    else if (id !== undefined) {
      const flags = { normalized: false, singleWord: false, lstrip: false, rstrip: false };
      add({ id, content, special: true, ...flags });
    }
  }
  return [...added.values()];
}

function readTemplates(template: Json): Map<string, string> {
  const templates = new Map<string, string>();
  if (template.isMissing) return templates;
  if (typeof template.value === "string") return templates.set("default", template.value);
  for (const item of template.array()) {
    templates.set(item.get("name").string(), item.get("template").string());
  }
  return templates;
}
