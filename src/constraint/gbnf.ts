// SPDX-License-Identifier: Apache-2.0
/** Grammars in llama.cpp's notation (GBNF): `name ::= ...`, with the rule `root` for the whole text. */
import { Failure } from "../errors.ts";
import {
  choice,
  type CodeRange,
  complement,
  type Grammar,
  MAX_CODE,
  type Node,
  repeat,
  sequence,
} from "./grammar.ts";

const NAME = /[a-zA-Z][a-zA-Z0-9_-]*/y;
const DEFINITION = /[a-zA-Z][a-zA-Z0-9_-]*[ \t]*::=/y;
const BOUNDS = /\{\s*(\d+)\s*(,\s*(\d*)\s*)?\}/y;
const MAX_DEPTH = 100;
const MAX_REPEAT = 100_000;
const MAX_RULES = 2000;
const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  '"': '"',
  "\\": "\\",
  "[": "[",
  "]": "]",
  "-": "-",
  "^": "^",
  "/": "/",
};

/** @throws {Failure} `invalid`, completing a sentence that starts with the field's name. */
export function parseGbnf(source: string): Grammar {
  return new GbnfParser(source).parse();
}

class GbnfParser {
  readonly #source: string;
  #at = 0;
  #depth = 0;
  readonly #names = new Map<string, number>();
  readonly #rules: (Node | null)[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Grammar {
    for (this.#space(true); this.#at < this.#source.length; this.#space(true)) this.#rule();
    for (const [name, rule] of this.#names) {
      if (this.#rules[rule] === null) this.#fail(`has no rule "${name}", which it refers to`);
    }
    const root = this.#names.get("root");
    if (root === undefined) this.#fail('has no rule "root": the whole text is named so');
    return { rules: this.#rules.map((node) => node!), root };
  }

  #rule(): void {
    const name = this.#match(NAME)?.[0];
    if (name === undefined) this.#fail(`has "${this.#peek()}" where a rule should start`);
    this.#space(false);
    if (this.#source.slice(this.#at, this.#at + 3) !== "::=") {
      this.#fail(`has no ::= behind "${name}"`);
    }
    this.#at += 3;
    const rule = this.#named(name);
    if (this.#rules[rule] !== null) this.#fail(`has two rules "${name}"`);
    this.#space(true);
    this.#rules[rule] = this.#choice();
    if (this.#peek() === ")") this.#fail("has a ) that closes nothing");
  }

  #named(name: string): number {
    let rule = this.#names.get(name);
    if (rule === undefined) {
      if (this.#rules.length >= MAX_RULES) this.#fail(`has more than ${MAX_RULES} rules`);
      rule = this.#rules.push(null) - 1;
      this.#names.set(name, rule);
    }
    return rule;
  }

  #choice(): Node {
    if (++this.#depth > MAX_DEPTH) this.#fail(`nests deeper than ${MAX_DEPTH} groups`);
    const branches = [this.#sequence()];
    while (this.#peek() === "|") {
      this.#at++;
      this.#space(true);
      branches.push(this.#sequence());
    }
    this.#depth--;
    return choice(...branches);
  }

  #sequence(): Node {
    const items: Node[] = [];
    for (;;) {
      const item = this.#atom();
      if (item === null) return sequence(...items);
      items.push(this.#quantified(item));
    }
  }

  /** null at the end of a sequence: |, ), the end, or the next rule. */
  #atom(): Node | null {
    this.#space(true);
    const char = this.#peek();
    if (char === "" || char === "|" || char === ")") return null;
    if (char === '"') return this.#literal();
    if (char === "[") return this.#class();
    if (char === ".") {
      this.#at++;
      return { kind: "class", ranges: [[0, MAX_CODE]] };
    }
    if (char === "(") {
      this.#at++;
      this.#space(true);
      const inner = this.#choice();
      if (this.#peek() !== ")") this.#fail("has a ( that isn't closed");
      this.#at++;
      return inner;
    }
    DEFINITION.lastIndex = this.#at;
    if (DEFINITION.test(this.#source)) return null;
    const name = this.#match(NAME)?.[0];
    if (name === undefined) this.#fail(`has "${char}" where it isn't expected`);
    return { kind: "rule", rule: this.#named(name) };
  }

  #quantified(item: Node): Node {
    let node = item;
    for (;;) {
      const char = this.#peek();
      const bounds = char === "{" ? this.#match(BOUNDS) : null;
      if (bounds !== null) {
        const min = Number(bounds[1]);
        const max = bounds[2] === undefined ? min : bounds[3] === "" ? Infinity : Number(bounds[3]);
        const most = Number.isFinite(max) ? max : min;
        if (max < min || most > MAX_REPEAT) this.#fail(`has the impossible bounds ${bounds[0]}`);
        node = max === 0 ? sequence() : repeat(node, min, max);
      } else if (char === "*" || char === "+" || char === "?") {
        this.#at++;
        node = repeat(node, char === "+" ? 1 : 0, char === "?" ? 1 : Infinity);
      } else return node;
    }
  }

  #literal(): Node {
    this.#at++;
    let text = "";
    while (this.#peek() !== '"') text += this.#char();
    this.#at++;
    return { kind: "text", text };
  }

  #class(): Node {
    this.#at++;
    const inverted = this.#peek() === "^";
    if (inverted) this.#at++;
    const ranges: CodeRange[] = [];
    while (this.#peek() !== "]") {
      const from = this.#char().codePointAt(0)!;
      let to = from;
      if (/^-[^\]]/.test(this.#source.slice(this.#at, this.#at + 2))) {
        this.#at++;
        to = this.#char().codePointAt(0)!;
        if (to < from) {
          this.#fail("has a range in [ ] that isn't from a lower to a higher character");
        }
      }
      ranges.push([from, to]);
    }
    this.#at++;
    return { kind: "class", ranges: inverted ? complement(ranges) : ranges };
  }

  /** One character of a literal or class, escapes read. */
  #char(): string {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined || code === 10) this.#fail("has a literal or class that isn't closed");
    const char = String.fromCodePoint(code);
    this.#at += char.length;
    if (char !== "\\") return char;
    const hex = this.#match(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})/y);
    if (hex !== null) {
      const value = parseInt((hex[1] ?? hex[2] ?? hex[3])!, 16);
      if (value > MAX_CODE) this.#fail(`has the character \\${hex[0]}, which doesn't exist`);
      return String.fromCodePoint(value);
    }
    const known = ESCAPES[this.#peek()];
    if (known === undefined) this.#fail(`has the escape \\${this.#peek()}, which isn't known`);
    this.#at++;
    return known;
  }

  /** Blanks and comments; new lines only where the next rule can be told apart. */
  #space(lines: boolean): void {
    this.#match(lines ? /(?:\s|#[^\n]*)*/y : /(?:[ \t]|#[^\n]*)*/y);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source);
    if (match !== null) this.#at += match[0].length;
    return match;
  }

  #peek(): string {
    return this.#source[this.#at] ?? "";
  }

  #fail(rule: string): never {
    const line = this.#source.slice(0, this.#at).split("\n").length;
    throw new Failure("invalid", `${rule} (line ${line})`);
  }
}
