// SPDX-License-Identifier: Apache-2.0
/** Builds a {@linkcode TokenizerSpec} from a vocabulary and its rules, whatever file they came from. */
import { Failure } from "../errors.ts";
import { writeBytesOfToken } from "./byte_level.ts";
import { compileNormalizers } from "./normalizers.ts";
import { createStringTable } from "./pair_table.ts";
import {
  type AddedToken,
  type ByteStrings,
  type DecodeRules,
  type NormalizerStep,
  sharedInt32,
  sharedUint8,
  type SplitStep,
  type TokenizerSpec,
} from "./spec.ts";
import { writeUtf8 } from "./utf8.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** What a tokenizer is made of. */
export interface TokenizerParts {
  alphabet: "bytes" | "characters";
  vocabulary: Vocabulary;
  added: AddedToken[];
  /** Ids that are special although they are no added tokens. */
  special: readonly number[];
  merges: Int32Array;
  byteFallback: boolean;
  ignoreMerges: boolean;
  unknown: number;
  fuseUnknown: boolean;
  normalizers: NormalizerStep[];
  splits: SplitStep[];
  prefix: number[];
  suffix: number[];
  decode: DecodeRules;
  /** With the alphabet of characters: what a token is in a text. */
  textOfToken: (token: string) => string;
}

/**
 * The added tokens that the model has rows for: fine-tunes list padding tokens that their weights lack.
 * @throws {Failure} kind `model` when the vocabulary itself has more tokens than the model.
 */
export function withinRows(
  rows: number,
  vocabulary: Vocabulary,
  added: AddedToken[],
): AddedToken[] {
  for (const [token, id] of vocabulary) {
    if (id < rows) continue;
    throw new Failure(
      "model",
      `The tokenizer has the token ${JSON.stringify(token)} with the id ${id}, but the model has ` +
        `${rows} rows: tokenizer and weights do not belong together.`,
    );
  }
  return added.filter(({ id }) => id < rows);
}

/** @throws {Failure} kind `model` when ids are out of all proportion. */
export function buildSpec(parts: TokenizerParts): TokenizerSpec {
  const size = checkedSize(parts);
  for (const id of [...parts.prefix, ...parts.suffix]) {
    if (id < size) continue;
    throw new Failure("model", `The tokenizer puts token ${id} around texts, but there is none.`);
  }
  const special = sharedUint8(size);
  for (const id of parts.special) special[id] = 1;
  for (const token of parts.added) if (token.special) special[token.id] = 1;
  const byId = tokensById(parts, size);
  const tokens = packTokens(parts, byId);
  const keys = () =>
    parts.alphabet === "bytes" ? tokens : pack(byId, (token, target) => writeUtf8(token, target));
  return {
    alphabet: parts.alphabet,
    size,
    tokens,
    special,
    byteTokens: byteTokens(parts, special),
    characterTokens: parts.alphabet === "bytes"
      ? new Int32Array(0)
      : characterTokens(parts, special),
    merges: parts.merges,
    whole: parts.ignoreMerges ? wholePieces(parts, keys(), special) : null,
    unknown: parts.unknown,
    fuseUnknown: parts.fuseUnknown,
    added: parts.added,
    normalizers: parts.normalizers,
    splits: [...parts.splits, ...wordSplit(parts)],
    prefix: parts.prefix,
    suffix: parts.suffix,
    decode: parts.decode,
  };
}

function checkedSize(parts: TokenizerParts): number {
  let largest = -1;
  for (const [, id] of parts.vocabulary) largest = Math.max(largest, id);
  for (const { id } of parts.added) largest = Math.max(largest, id);
  for (const id of parts.special) largest = Math.max(largest, id);
  const entries = parts.vocabulary.count + parts.added.length;
  if (entries === 0) throw new Failure("model", "The tokenizer has no tokens.");
  if (largest > entries * 2 + 65536) {
    throw new Failure(
      "model",
      `The tokenizer has ${entries} tokens, but one of them has the id ${largest}.`,
    );
  }
  return largest + 1;
}

/** Tokens as written in the file; "" for ids without a token. */
function tokensById(parts: TokenizerParts, size: number): string[] {
  const tokens = new Array<string>(size).fill("");
  for (const [token, id] of parts.vocabulary) tokens[id] = token;
  return tokens;
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** The byte of a token like `<0x0A>`, or -1. */
function byteOfToken(token: string): number {
  const match = token.length === 6 ? BYTE_TOKEN.exec(token) : null;
  return match ? parseInt(match[1]!, 16) : -1;
}

/** Writes a token as numbers of one byte each, and returns how many. */
type TokenWriter = (token: string, target: Int32Array, id: number) => number;

function packTokens(parts: TokenizerParts, byId: string[]): ByteStrings {
  const normalize = compileNormalizers(parts.normalizers);
  const added = new Map(parts.added.map((token) => {
    // What is found in normalized text came from there; special tokens keep their name.
    const found = token.normalized && !token.special ? normalize(token.content) : token.content;
    return [token.id, found.toWellFormed()];
  }));
  return pack(byId, (token, target, id) => {
    const content = added.get(id);
    if (parts.alphabet === "bytes") {
      const length = content === undefined ? writeBytesOfToken(token, target) : -1;
      return length >= 0 ? length : writeUtf8(content ?? token.toWellFormed(), target);
    }
    const byte = parts.byteFallback ? byteOfToken(token) : -1;
    if (byte < 0) return writeUtf8(parts.textOfToken(content ?? token).toWellFormed(), target);
    target[0] = byte;
    return 1;
  }, [...added.values()]);
}

function pack(strings: string[], write: TokenWriter, further: string[] = []): ByteStrings {
  let longest = 16;
  let total = 0;
  for (const string of strings) total += string.length;
  for (const string of strings) longest = Math.max(longest, string.length);
  for (const string of further) longest = Math.max(longest, string.length);
  // A decoder may make a token longer; that is rare and small.
  const scratch = new Int32Array(longest * 12);
  let bytes = new Uint8Array(total * 2 + scratch.length);
  const offsets = sharedInt32(strings.length + 1);
  let at = 0;
  strings.forEach((string, id) => {
    const length = write(string, scratch, id);
    if (length > scratch.length) throw new Failure("model", `The token ${id} is too long.`);
    if (at + length > bytes.length) {
      const grown = new Uint8Array(bytes.length * 2);
      grown.set(bytes);
      bytes = grown;
    }
    for (let i = 0; i < length; i++) bytes[at++] = scratch[i]!;
    offsets[id + 1] = at;
  });
  const shared = sharedUint8(at);
  shared.set(bytes.subarray(0, at));
  return { bytes: shared, offsets };
}

function byteTokens(parts: TokenizerParts, special: Uint8Array): Int32Array {
  const table = new Int32Array(256).fill(-1);
  if (parts.alphabet === "characters" && !parts.byteFallback) return table;
  const byte = new Int32Array(1);
  for (const [token, id] of parts.vocabulary) {
    if (parts.alphabet === "characters") byte[0] = byteOfToken(token);
    else if (token.length !== 1 || special[id] === 1) continue;
    else if (writeBytesOfToken(token, byte) !== 1) continue;
    if (byte[0]! >= 0) table[byte[0]!] = id;
  }
  return table;
}

function characterTokens(parts: TokenizerParts, special: Uint8Array): Int32Array {
  const pairs: number[] = [];
  for (const [token, id] of parts.vocabulary) {
    if (token === "" || token.length > 2 || special[id] === 1) continue;
    const code = token.codePointAt(0)!;
    if (token.length === (code > 0xffff ? 2 : 1)) pairs.push(code, id);
  }
  return Int32Array.from(pairs);
}

function wholePieces(
  parts: TokenizerParts,
  keys: ByteStrings,
  special: Uint8Array,
): NonNullable<TokenizerSpec["whole"]> {
  const wanted: number[] = [];
  for (const [, id] of parts.vocabulary) if (special[id] !== 1) wanted.push(id);
  return { keys, table: createStringTable(keys, wanted) };
}

/**
 * Without a splitting step a whole document is one piece. It may still be cut before each U+2581 (the
 * space) that follows a character which no merged token has before a U+2581: no merge can cross there.
 */
function wordSplit(parts: TokenizerParts): SplitStep[] {
  const space = "\u2581";
  if (parts.alphabet !== "characters" || parts.vocabulary.get(space) < 0) return [];
  const joined = new Set<string>();
  for (const [token] of parts.vocabulary) {
    for (let at = token.indexOf(space, 1); at > 0; at = token.indexOf(space, at + 1)) {
      joined.add(String.fromCodePoint(codePointBefore(token, at)));
    }
  }
  joined.delete(space);
  // Within a piece a run of spaces goes on.
  if (joined.size > 0) joined.add(space);
  const codes = [...joined].map((character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
  const inner = codes.length > 0
    ? `(?:[^${space}]|(?<=[${codes.join("")}])${space})+`
    : `[^${space}]+`;
  return [{
    kind: "split",
    pattern: { regex: `${space}*${inner}|${space}+` },
    behavior: "isolated",
    invert: false,
  }];
}

function codePointBefore(text: string, at: number): number {
  const unit = text.charCodeAt(at - 1);
  const isLow = unit >= 0xdc00 && unit < 0xe000 && at > 1;
  return isLow ? text.codePointAt(at - 2)! : unit;
}
