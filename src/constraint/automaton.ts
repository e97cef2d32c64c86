// SPDX-License-Identifier: Apache-2.0
/**
 * A grammar as a pushdown automaton over bytes. Each rule is a nondeterministic automaton; an edge may call
 * another rule and go on from `back` when that has ended. Repetitions of single characters with bounds don't
 * unroll: they are loops that count on the stack.
 */
import { type Grammar, type Node, tooLarge } from "./grammar.ts";
import { isCharacter, usable } from "./grammar_checks.ts";
import { utf8Sequences } from "./utf8_ranges.ts";

/** One state. Edges are flat lists. */
export interface State {
  /** low, high, target */
  bytes: number[];
  /** token, target */
  tokens: number[];
  /** rule, back */
  calls: number[];
  /** loop, back */
  loops: number[];
  empty: number[];
  /** Its rule, or the round of its loop, may end here. */
  final: boolean;
}

/** A counted repetition of single characters. */
export interface Loop {
  start: number;
  min: number;
  max: number;
}

export interface Automaton {
  states: readonly State[];
  /** First state of each rule. */
  starts: readonly number[];
  loops: readonly Loop[];
  root: number;
}

const MAX_STATES = 50_000;
const MAX_ROUNDS = 1_000_000;
/** Repetitions of up to this many characters are unrolled. */
const UNROLLED = 4;

/** @throws {Failure} `invalid` when the grammar can't be used: nothing fits it, it is too large, or it is left-recursive. */
export function compileGrammar(grammar: Grammar): Automaton {
  return new Compiler(usable(grammar)).automaton();
}

class Compiler {
  readonly #grammar: Grammar;
  readonly #states: State[] = [];
  readonly #loops: Loop[] = [];
  readonly #starts: number[] = [];
  /** Rules for repeated items, made while compiling. */
  readonly #extra: Node[] = [];
  /** States before the last bytes of characters, by what follows. */
  readonly #suffixes = new Map<string, number>();

  constructor(grammar: Grammar) {
    this.#grammar = grammar;
  }

  automaton(): Automaton {
    const { rules, root } = this.#grammar;
    for (let rule = 0; rule < rules.length + this.#extra.length; rule++) {
      const final = this.#state();
      this.#states[final]!.final = true;
      this.#starts[rule] = this.#compile(rules[rule] ?? this.#extra[rule - rules.length]!, final);
      this.#suffixes.clear();
    }
    return {
      states: this.#states,
      starts: this.#starts,
      loops: this.#loops,
      root: this.#starts[root]!,
    };
  }

  #state(): number {
    if (this.#states.length >= MAX_STATES) throw tooLarge();
    return this.#states.push({
      bytes: [],
      tokens: [],
      calls: [],
      loops: [],
      empty: [],
      final: false,
    }) - 1;
  }

  /** The state from which the node leads to `to`. */
  #compile(node: Node, to: number): number {
    switch (node.kind) {
      case "sequence":
        return node.items.reduceRight((next, item) => this.#compile(item, next), to);
      case "text":
        return new TextEncoder().encode(node.text).reduceRight((next, byte) => {
          const state = this.#state();
          this.#states[state]!.bytes.push(byte, byte, next);
          return state;
        }, to);
      case "repeat":
        return this.#repeat(node, to);
      default: {
        const state = this.#state();
        this.#addEdges(node, state, to);
        return state;
      }
    }
  }

  #addEdges(node: Node, from: number, to: number): void {
    const state = this.#states[from]!;
    if (node.kind === "rule") state.calls.push(node.rule, to);
    else if (node.kind === "token") state.tokens.push(node.token, to);
    else if (node.kind === "class") {
      for (const range of node.ranges) this.#addClass(range, from, to);
    } else if (node.kind === "choice") {
      for (const item of node.items) state.empty.push(this.#compile(item, to));
    }
  }

  #addClass(range: readonly [number, number], from: number, to: number): void {
    for (const bytes of utf8Sequences(range)) {
      let next = to;
      for (let i = bytes.length - 1; i > 0; i--) next = this.#suffix(bytes[i]!, next);
      this.#states[from]!.bytes.push(...bytes[0]!, next);
    }
  }

  #suffix([low, high]: readonly [number, number], to: number): number {
    const key = `${low} ${high} ${to}`;
    let state = this.#suffixes.get(key);
    if (state === undefined) {
      state = this.#state();
      this.#states[state]!.bytes.push(low, high, to);
      this.#suffixes.set(key, state);
    }
    return state;
  }

  #repeat({ item, min, max }: Node & { kind: "repeat" }, to: number): number {
    const counted = Number.isFinite(max) ? max : min;
    if (counted > UNROLLED && isCharacter(item)) return this.#loop(item, min, max, to);
    const part = counted > 1 && item.kind !== "class" && item.kind !== "rule"
      ? this.#ruleOf(item)
      : item;
    let next = to;
    if (max === Infinity) {
      next = this.#state();
      const again = this.#compile(part, next);
      this.#states[next]!.empty.push(again, to);
    } else {
      for (let i = min; i < max; i++) {
        const again = this.#compile(part, next);
        next = this.#state();
        this.#states[next]!.empty.push(again, to);
      }
    }
    for (let i = 0; i < min; i++) next = this.#compile(part, next);
    return next;
  }

  #ruleOf(item: Node): Node {
    this.#extra.push(item);
    return { kind: "rule", rule: this.#grammar.rules.length + this.#extra.length - 1 };
  }

  #loop(item: Node, min: number, max: number, to: number): number {
    if (Math.max(min, max === Infinity ? 0 : max) > MAX_ROUNDS) throw tooLarge();
    const end = this.#state();
    this.#states[end]!.final = true;
    const loop = this.#loops.push({ start: this.#compile(item, end), min, max }) - 1;
    const state = this.#state();
    this.#states[state]!.loops.push(loop, to);
    return state;
  }
}
