// SPDX-License-Identifier: Apache-2.0
/** Finds added tokens in a text: leftmost, and the longest at that place. */
import type { AddedToken } from "./spec.ts";

/** Where a token was found. */
export interface AddedMatch {
  start: number;
  end: number;
  id: number;
}

/** What to look for. */
export interface AddedSearch {
  /** Special tokens too; otherwise their text stays text. */
  special: boolean;
  /** A special token right behind this stays text. */
  escape: string | null;
}

interface Node {
  next: Map<number, Node>;
  token: AddedToken | null;
}

const WORD = /[\p{L}\p{M}\p{N}\p{Pc}]/u;
const SPACE_BEFORE = /\p{White_Space}+$/u;
const SPACE_BEHIND = /\p{White_Space}*/uy;

/** A set of added tokens, ready to be searched for. */
export class AddedTokenFinder {
  readonly #root: Node = { next: new Map(), token: null };
  readonly #starts: RegExp | null;
  /** Length of the longest token. */
  readonly #depth: number;

  constructor(tokens: readonly AddedToken[]) {
    const starts = new Set<number>();
    for (const token of tokens) {
      let node = this.#root;
      for (let i = 0; i < token.content.length; i++) {
        const code = token.content.charCodeAt(i);
        if (i === 0) starts.add(code);
        let child = node.next.get(code);
        if (!child) node.next.set(code, child = { next: new Map(), token: null });
        node = child;
      }
      if (node !== this.#root) node.token = token;
    }
    this.#depth = tokens.reduce((most, token) => Math.max(most, token.content.length), 0);
    const units = [...starts].map((code) => "\\u" + code.toString(16).padStart(4, "0"));
    this.#starts = units.length > 0 ? new RegExp(`[${units.join("")}]`, "g") : null;
  }

  /** Matches in the order of the text, none overlapping another. */
  find(text: string, search: AddedSearch): AddedMatch[] {
    const matches: AddedMatch[] = [];
    const starts = this.#starts;
    if (!starts) return matches;
    starts.lastIndex = 0;
    let covered = 0;
    while (starts.test(text)) {
      const start = starts.lastIndex - 1;
      const token = this.#longest(text, start);
      if (!token) continue;
      const end = start + token.content.length;
      starts.lastIndex = end;
      if (!wanted(token, text, start, end, search)) continue;
      const match = { start, end, id: token.id };
      if (token.lstrip) match.start = Math.max(covered, spaceBefore(text, start));
      if (token.rstrip) match.end = spaceBehind(text, end);
      if (match.start < covered) match.start = covered;
      if (match.end < match.start) match.end = match.start;
      matches.push(match);
      covered = match.end;
    }
    return matches;
  }

  /** Every place where a token starts, also within another one. */
  starts(text: string): number[] {
    const places: number[] = [];
    const starts = this.#starts;
    if (!starts) return places;
    starts.lastIndex = 0;
    while (starts.test(text)) {
      if (this.#longest(text, starts.lastIndex - 1)) places.push(starts.lastIndex - 1);
    }
    return places;
  }

  /** Whether the text ends where a token has begun. */
  endsInside(text: string): boolean {
    for (let start = Math.max(0, text.length - this.#depth); start < text.length; start++) {
      let node: Node | undefined = this.#root;
      for (let i = start; i < text.length && node; i++) node = node.next.get(text.charCodeAt(i));
      if (node && node.next.size > 0) return true;
    }
    return false;
  }

  #longest(text: string, start: number): AddedToken | null {
    let node: Node | undefined = this.#root;
    let longest: AddedToken | null = null;
    for (let i = start; i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i));
      if (!node) break;
      if (node.token) longest = node.token;
    }
    return longest;
  }
}

function wanted(
  token: AddedToken,
  text: string,
  start: number,
  end: number,
  search: AddedSearch,
): boolean {
  if (token.special && !search.special) return false;
  if (
    token.special && search.escape !== null &&
    text.startsWith(search.escape, start - search.escape.length)
  ) {
    return false;
  }
  if (!token.singleWord) return true;
  return !WORD.test(text.slice(Math.max(0, start - 1), start)) &&
    !WORD.test(text.slice(end, end + 1));
}

function spaceBefore(text: string, at: number): number {
  // Looks at a window that doubles: the expression alone would start at every space of the text.
  for (let window = 64;; window *= 2) {
    const from = Math.max(0, at - window);
    const length = SPACE_BEFORE.exec(text.slice(from, at))?.[0].length ?? 0;
    if (length < at - from || from === 0) return at - length;
  }
}

function spaceBehind(text: string, at: number): number {
  SPACE_BEHIND.lastIndex = at;
  return SPACE_BEHIND.test(text) ? SPACE_BEHIND.lastIndex : at;
}
