// SPDX-License-Identifier: Apache-2.0
/** What must hold of a grammar before it is compiled. */
import { Failure } from "../errors.ts";
import { type CodeRange, type Grammar, intersection, MAX_CODE, type Node } from "./grammar.ts";

/** Surrogates aren't characters and have no UTF-8. */
const CHARACTERS: readonly CodeRange[] = [[0, 0xd7ff], [0xe000, MAX_CODE]];

/** First characters of a node that is never empty; null where they aren't known. */
function firstOf(node: Node): readonly CodeRange[] | null {
  if (node.kind === "class") return node.ranges;
  if (node.kind === "text") {
    const code = node.text.codePointAt(0);
    return code === undefined ? null : [[code, code]];
  }
  if (node.kind === "sequence") return node.items.length === 0 ? null : firstOf(node.items[0]!);
  if (node.kind === "choice") {
    const firsts = node.items.map(firstOf);
    return firsts.every((first) => first !== null) ? firsts.flat() : null;
  }
  return null;
}

/**
 * True for nodes of which no text is the start of another one, as characters are and the escape sequences
 * that stand for one. How many of them a text has is then certain, and a loop can count them.
 */
export function isCharacter(node: Node): boolean {
  if (node.kind === "class") return node.ranges.length > 0;
  if (node.kind === "text") return node.text !== "";
  if (node.kind === "sequence") return node.items.length > 0 && node.items.every(isCharacter);
  if (node.kind !== "choice" || !node.items.every(isCharacter)) return false;
  const firsts = node.items.map((item) => firstOf(item)!);
  return firsts.every((first, i) =>
    firsts.slice(i + 1).every((other) => intersection(first, other).length === 0)
  );
}

/** Rules for which `holds` is true, found by going over all of them until nothing changes. */
function fixpoint(
  { rules }: Grammar,
  holds: (node: Node, known: readonly boolean[]) => boolean,
): boolean[] {
  const known: boolean[] = new Array(rules.length).fill(false);
  // To and fro: chains of rules lead to later ones or to earlier ones.
  for (let changed = true, forth = true; changed; forth = !forth) {
    changed = false;
    for (let n = 0; n < rules.length; n++) {
      const i = forth ? n : rules.length - 1 - n;
      if (known[i] || !holds(rules[i]!, known)) continue;
      known[i] = changed = true;
    }
  }
  return known;
}

function isProductive(node: Node, known: readonly boolean[]): boolean {
  switch (node.kind) {
    case "class":
      return intersection(node.ranges, CHARACTERS).length > 0;
    case "rule":
      return known[node.rule]!;
    case "sequence":
      return node.items.every((item) => isProductive(item, known));
    case "choice":
      return node.items.some((item) => isProductive(item, known));
    case "repeat":
      return node.min === 0 || isProductive(node.item, known);
    default:
      return true;
  }
}

function isNullable(node: Node, known: readonly boolean[]): boolean {
  switch (node.kind) {
    case "text":
      return node.text === "";
    case "rule":
      return known[node.rule]!;
    case "sequence":
      return node.items.every((item) => isNullable(item, known));
    case "choice":
      return node.items.some((item) => isNullable(item, known));
    case "repeat":
      return node.min === 0 || isNullable(node.item, known);
    default:
      return false;
  }
}

/** Rules that a text of this node may start in. */
function leftRules(node: Node, nullable: readonly boolean[], into: Set<number>): void {
  if (node.kind === "rule") into.add(node.rule);
  else if (node.kind === "repeat") leftRules(node.item, nullable, into);
  else if (node.kind === "choice") {
    for (const item of node.items) leftRules(item, nullable, into);
  } else if (node.kind === "sequence") {
    for (const item of node.items) {
      leftRules(item, nullable, into);
      if (!isNullable(item, nullable)) break;
    }
  }
}

/** A rule that starts with itself would be called without end. */
function isLeftRecursive(grammar: Grammar): boolean {
  const nullable = fixpoint(grammar, isNullable);
  const lefts = grammar.rules.map((node) => {
    const into = new Set<number>();
    leftRules(node, nullable, into);
    return [...into];
  });
  /** 1: on the way, 2: done. */
  const marks = new Uint8Array(lefts.length);
  for (let first = 0; first < lefts.length; first++) {
    if (marks[first] !== 0) continue;
    const path: { rule: number; next: number }[] = [{ rule: first, next: 0 }];
    marks[first] = 1;
    while (path.length > 0) {
      const top = path.at(-1)!;
      const called = lefts[top.rule]![top.next++];
      if (called === undefined) {
        marks[top.rule] = 2;
        path.pop();
      } else if (marks[called] === 1) return true;
      else if (marks[called] === 0) {
        marks[called] = 1;
        path.push({ rule: called, next: 0 });
      }
    }
  }
  return false;
}

/** The grammar without what no text can come of; every way through the rest leads to an end. */
function pruned(node: Node, known: readonly boolean[]): Node {
  switch (node.kind) {
    case "choice":
      return {
        kind: "choice",
        items: node.items.filter((item) => isProductive(item, known))
          .map((item) => pruned(item, known)),
      };
    case "sequence":
      return { kind: "sequence", items: node.items.map((item) => pruned(item, known)) };
    case "repeat":
      return isProductive(node.item, known)
        ? { ...node, item: pruned(node.item, known) }
        : { kind: "sequence", items: [] };
    default:
      return node;
  }
}

/**
 * The grammar as the automaton needs it.
 * @throws {Failure} `invalid` when no text fits it, or when a rule starts with itself.
 */
export function usable(grammar: Grammar): Grammar {
  const productive = fixpoint(grammar, isProductive);
  if (!productive[grammar.root]) {
    throw new Failure("invalid", "allows no text at all: nothing could be answered");
  }
  if (isLeftRecursive(grammar)) {
    throw new Failure(
      "invalid",
      "has a rule that starts with itself: put the repeated part last, or use * or +",
    );
  }
  const nothing: Node = { kind: "choice", items: [] };
  const rules = grammar.rules.map((node, i) => productive[i] ? pruned(node, productive) : nothing);
  return { rules, root: grammar.root };
}
