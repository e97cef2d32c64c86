// SPDX-License-Identifier: Apache-2.0
/** Grammars as data: what JSON schemas, regular expressions and GBNF become before they are an automaton. */
import { Failure } from "../errors.ts";

/** Code points from the first to the last, both included. */
export type CodeRange = readonly [number, number];

/** A part of a grammar. */
export type Node =
  /** One character. */
  | { kind: "class"; ranges: readonly CodeRange[] }
  | { kind: "text"; text: string }
  | { kind: "sequence"; items: readonly Node[] }
  | { kind: "choice"; items: readonly Node[] }
  /** `max` may be Infinity. */
  | { kind: "repeat"; item: Node; min: number; max: number }
  | { kind: "rule"; rule: number }
  /** One special token, which no text can spell. */
  | { kind: "token"; token: number };

/** Rules by index; texts that the root derives are the ones allowed. */
export interface Grammar {
  rules: readonly Node[];
  root: number;
}

/** Greatest code point. */
export const MAX_CODE = 0x10ffff;

/** Nothing but the empty text. */
export const EMPTY: Node = { kind: "sequence", items: [] };

export function text(text: string): Node {
  return { kind: "text", text };
}

export function sequence(...items: Node[]): Node {
  return items.length === 1 ? items[0]! : { kind: "sequence", items };
}

export function choice(...items: Node[]): Node {
  return items.length === 1 ? items[0]! : { kind: "choice", items };
}

/** One of these texts, as a tree: what they begin with alike is read once, however many there are. */
export function oneText(texts: readonly string[]): Node {
  const sorted = [...new Set(texts)].sort();
  return textsFrom(sorted, 0, sorted.length, 0);
}

/** The rest, from a code unit on, of sorted texts that are alike before it. */
function textsFrom(texts: readonly string[], from: number, to: number, at: number): Node {
  const first = texts[from] ?? "";
  if (to - from === 1) return text(first.slice(at));
  const branches: Node[] = [];
  let i = from;
  // The shortest comes first.
  if (i < to && first.length === at) {
    branches.push(EMPTY);
    i++;
  }
  while (i < to) {
    const start = i;
    const code = texts[start]!.codePointAt(at)!;
    while (i < to && texts[i]!.codePointAt(at) === code) i++;
    const end = commonEnd(texts[start]!, texts[i - 1]!, at);
    const beginning = text(texts[start]!.slice(at, end));
    branches.push(sequence(beginning, textsFrom(texts, start, i, end)));
  }
  return choice(...branches);
}

/** Where the first and last of sorted texts, and so all between, begin to differ: not within a character. */
function commonEnd(first: string, last: string, from: number): number {
  let end = from;
  for (;;) {
    const code = first.codePointAt(end);
    if (code === undefined || code !== last.codePointAt(end)) return end;
    end += code > 0xffff ? 2 : 1;
  }
}

export function optional(item: Node): Node {
  return { kind: "choice", items: [item, EMPTY] };
}

export function repeat(item: Node, min: number, max = Infinity): Node {
  return { kind: "repeat", item, min, max };
}

export function star(item: Node): Node {
  return repeat(item, 0);
}

/** A class of single characters and ranges: `"a-z"`, `"0-9"`, `"_"`. */
export function chars(...parts: string[]): Node {
  const ranges = parts.map((part): CodeRange => {
    const points = [...part].map((char) => char.codePointAt(0)!);
    return points.length === 3 ? [points[0]!, points[2]!] : [points[0]!, points[0]!];
  });
  return { kind: "class", ranges };
}

/** Sorted, without overlaps. */
export function normalized(ranges: readonly CodeRange[]): CodeRange[] {
  const merged: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** All other code points. */
export function complement(ranges: readonly CodeRange[]): CodeRange[] {
  const others: CodeRange[] = [];
  let next = 0;
  for (const [from, to] of normalized(ranges)) {
    if (from > next) others.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= MAX_CODE) others.push([next, MAX_CODE]);
  return others;
}

/** What both have. */
export function intersection(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  const both: CodeRange[] = [];
  const [as, bs] = [normalized(a), normalized(b)];
  for (let i = 0, j = 0; i < as.length && j < bs.length;) {
    const from = Math.max(as[i]![0], bs[j]![0]);
    const to = Math.min(as[i]![1], bs[j]![1]);
    if (from <= to) both.push([from, to]);
    if (as[i]![1] < bs[j]![1]) i++;
    else j++;
  }
  return both;
}

/** Most rules of one grammar. */
const MAX_RULES = 20_000;

/** Collects rules; a rule may be named before it is known what it is. */
export class GrammarBuilder {
  readonly #rules: (Node | null)[] = [];

  reserve(): number {
    if (this.#rules.length >= MAX_RULES) throw tooLarge();
    return this.#rules.push(null) - 1;
  }

  define(rule: number, node: Node): void {
    this.#rules[rule] = node;
  }

  /** A rule of its own: it is shared by all that refer to it. */
  add(node: Node): Node {
    const rule = this.reserve();
    this.define(rule, node);
    return { kind: "rule", rule };
  }

  /** Takes over the rules of another grammar. */
  include({ rules, root }: Grammar): Node {
    const first = this.#rules.length;
    rules.forEach((rule) => this.define(this.reserve(), shifted(rule, first)));
    return { kind: "rule", rule: first + root };
  }

  build(root: Node): Grammar {
    const rule = this.reserve();
    this.define(rule, root);
    return { rules: this.#rules.map((node) => node!), root: rule };
  }
}

/** The node with rules that stand further on. */
function shifted(node: Node, by: number): Node {
  switch (node.kind) {
    case "rule":
      return { kind: "rule", rule: node.rule + by };
    case "sequence":
    case "choice":
      return { kind: node.kind, items: node.items.map((item) => shifted(item, by)) };
    case "repeat":
      return { ...node, item: shifted(node.item, by) };
    default:
      return node;
  }
}

/** The failure of a constraint that is more than the server wants to compile. */
export function tooLarge(): Failure {
  return new Failure("invalid", "is too large to be compiled: make it shorter or less repetitive");
}
