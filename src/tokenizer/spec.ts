// SPDX-License-Identifier: Apache-2.0
/**
 * A tokenizer as plain data: what `read_huggingface.ts` and `read_gguf.ts` make and `encoder.ts` runs. It
 * can be posted to the worker; its large arrays are shared memory, so posting copies nothing.
 *
 * Modules that the worker imports must stay inside this folder: only its files may be read at run time.
 */

/** A literal text, or the source of a JavaScript expression (flag `v`). */
export type Pattern = { text: string } | { regex: string };

/** What becomes of the matches of a splitting pattern. */
export type SplitBehavior =
  | "removed"
  | "isolated"
  | "merged_with_previous"
  | "merged_with_next"
  | "contiguous";

/** A change of the text before it is split. */
export type NormalizerStep =
  | { kind: "unicode"; form: "NFC" | "NFD" | "NFKC" | "NFKD" }
  | { kind: "lowercase" }
  | { kind: "prepend"; text: string }
  | { kind: "replace"; pattern: Pattern; content: string }
  | { kind: "strip"; left: boolean; right: boolean };

/** A step that cuts text into pieces; merges never cross a cut. */
export type SplitStep =
  | { kind: "split"; pattern: Pattern; behavior: SplitBehavior; invert: boolean }
  /** A space in front of each piece that has none. */
  | { kind: "prefix_space" }
  | {
    kind: "metaspace";
    replacement: string;
    prepend: "always" | "first" | "never";
    split: boolean;
  };

/** A token that is found in the text before anything else. */
export interface AddedToken {
  id: number;
  content: string;
  /** Recognised only where special tokens are asked for. */
  special: boolean;
  /** Matched in the normalized text instead of the original one. */
  normalized: boolean;
  singleWord: boolean;
  /** Takes the white space before it, or behind it. */
  lstrip: boolean;
  rstrip: boolean;
}

/** Byte strings one after the other: string i lies from `offsets[i]` to `offsets[i + 1]`. */
export interface ByteStrings {
  bytes: Uint8Array;
  offsets: Int32Array;
}

/** How tokens become text, beyond joining their bytes. */
export interface DecodeRules {
  /** Spaces to drop at the start of a text. */
  stripSpaces: number;
  /** Drop all spaces of the first token. */
  stripFirstToken: boolean;
}

/** See the file's comment. */
export interface TokenizerSpec {
  /** What the merges start from: bytes, or characters. */
  alphabet: "bytes" | "characters";
  /** Ids stay under this. */
  size: number;
  /** What each token is in a text. */
  tokens: ByteStrings;
  /** 1 for special tokens. */
  special: Uint8Array;
  /** Token of each byte, -1 for none: the alphabet, or the fallback of characters without a token. */
  byteTokens: Int32Array;
  /** Code points and their tokens, in turn; empty for the alphabet of bytes. */
  characterTokens: Int32Array;
  /** Pair table of `pair_table.ts`. */
  merges: Int32Array;
  /** With `ignore_merges`: a piece that is a token as a whole is that token. */
  whole: { keys: ByteStrings; table: Int32Array } | null;
  /** Token for what has none, or -1: it is left out. */
  unknown: number;
  fuseUnknown: boolean;
  added: AddedToken[];
  normalizers: NormalizerStep[];
  splits: SplitStep[];
  /** Tokens that the model wants around a text. */
  prefix: number[];
  suffix: number[];
  decode: DecodeRules;
}

/** Memory that a worker can share. */
export function sharedInt32(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

/** Memory that a worker can share. */
export function sharedUint8(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length));
}
