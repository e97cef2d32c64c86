// SPDX-License-Identifier: Apache-2.0
/** The texts of all tokens as a tree of bytes, in the order of a walk through it. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/**
 * Node i stands for a start that tokens share; its subtree is the nodes from i + 1 up to `ends[i]`. Node 0
 * is the empty text. Special tokens and those without bytes are not in it.
 */
export interface TokenTrie {
  /** Tokens of the model: the length of masks in bits. */
  vocabulary: number;
  /** Last byte of each node's text. */
  bytes: Uint8Array;
  /** Bytes of each node's text. */
  depths: Uint16Array;
  ends: Int32Array;
  parents: Int32Array;
  /** The token whose text is the node's, or -1. */
  tokens: Int32Array;
  /** Further tokens of the same text. */
  twins: ReadonlyMap<number, readonly number[]>;
  /** Nodes by their last byte: those of byte b lie from `byByteFrom[b]` to `byByteFrom[b + 1]`. */
  byByte: Int32Array;
  byByteFrom: Int32Array;
}

/** Tokens longer than this are not offered to constraints. */
const MAX_DEPTH = 1024;

/** Sorted tokens with their bytes. */
function sortedTokens(
  tokenizer: Tokenizer,
  vocabulary: number,
): { id: number; bytes: Uint8Array }[] {
  const tokens: { id: number; bytes: Uint8Array; key: number }[] = [];
  const size = Math.min(tokenizer.size, vocabulary);
  for (let id = 0; id < size; id++) {
    if (tokenizer.isSpecial(id)) continue;
    const bytes = tokenizer.tokenBytes(id);
    if (bytes.length === 0 || bytes.length > MAX_DEPTH) continue;
    let key = 0;
    // Six bytes are exact in a double; nearly all comparisons end here.
    for (let i = 0; i < 6; i++) key = key * 257 + (i < bytes.length ? bytes[i]! + 1 : 0);
    tokens.push({ id, bytes, key });
  }
  return tokens.sort((a, b) => a.key - b.key || compareBytes(a.bytes, b.bytes));
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 6; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function common(a: Uint8Array, b: Uint8Array): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** Builds the tree; 128,000 tokens take about a third of a second. */
export function buildTokenTrie(tokenizer: Tokenizer, vocabulary: number): TokenTrie {
  const sorted = sortedTokens(tokenizer, vocabulary);
  let nodes = 1;
  sorted.forEach(({ bytes }, i) => {
    nodes += bytes.length - (i === 0 ? 0 : common(sorted[i - 1]!.bytes, bytes));
  });
  const trie = {
    vocabulary,
    bytes: new Uint8Array(nodes),
    depths: new Uint16Array(nodes),
    ends: new Int32Array(nodes),
    parents: new Int32Array(nodes).fill(-1),
    tokens: new Int32Array(nodes).fill(-1),
    twins: new Map<number, number[]>(),
    byByte: new Int32Array(nodes - 1),
    byByteFrom: new Int32Array(257),
  };
  fill(trie, sorted);
  indexBytes(trie);
  return trie;
}

type Growing = TokenTrie & { twins: Map<number, number[]> };

function fill(trie: Growing, sorted: { id: number; bytes: Uint8Array }[]): void {
  /** Nodes from the root to the last token's. */
  const path = [0];
  let count = 1;
  let before: Uint8Array = new Uint8Array();
  for (const { id, bytes } of sorted) {
    const shared = common(before, bytes);
    for (let node = path.length - 1; node > shared; node--) trie.ends[path.pop()!] = count;
    for (let depth = shared; depth < bytes.length; depth++) {
      trie.bytes[count] = bytes[depth]!;
      trie.depths[count] = depth + 1;
      trie.parents[count] = path.at(-1)!;
      path.push(count++);
    }
    const node = path.at(-1)!;
    if (trie.tokens[node] === -1) trie.tokens[node] = id;
    else trie.twins.set(node, [...trie.twins.get(node) ?? [], id]);
    before = bytes;
  }
  for (const node of path) trie.ends[node] = count;
}

function indexBytes(trie: TokenTrie): void {
  const { bytes, byByte, byByteFrom } = trie;
  for (let node = 1; node < bytes.length; node++) byByteFrom[bytes[node]! + 1]!++;
  for (let byte = 0; byte < 256; byte++) byByteFrom[byte + 1]! += byByteFrom[byte]!;
  const next = byByteFrom.slice(0, 256);
  for (let node = 1; node < bytes.length; node++) byByte[next[bytes[node]!]!++] = node;
}
