// SPDX-License-Identifier: Apache-2.0
/**
 * Regular expressions as grammars: the part of JavaScript's syntax that describes a regular language. What
 * isn't (looking around, back references) is refused by name.
 */
import { Failure } from "../errors.ts";
import {
  choice,
  type CodeRange,
  complement,
  EMPTY,
  MAX_CODE,
  type Node,
  repeat,
  sequence,
  star,
} from "./grammar.ts";

const DIGITS: CodeRange[] = [[0x30, 0x39]];
const WORD: CodeRange[] = [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const SPACES: CodeRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: CodeRange[] = [[0x0a, 0x0a], [0x0d, 0x0d], [0x2028, 0x2029]];
const CLASSES: Readonly<Record<string, CodeRange[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACES,
  S: complement(SPACES),
};
const CONTROLS: Readonly<Record<string, number>> = {
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  f: 0x0c,
  v: 0x0b,
  "0": 0,
};
const MAX_DEPTH = 100;
const MAX_REPEAT = 100_000;

const ANYTHING: Node = { kind: "class", ranges: [[0, MAX_CODE]] };

/**
 * The texts that match as a whole.
 * @throws {Failure} `invalid`, completing a sentence that starts with the field's name.
 */
export function parseRegex(source: string): Node {
  return new RegexParser(source).parse(false);
}

/** The texts in which the expression is found somewhere, as JSON schema's `pattern` has it. */
export function parseSearch(source: string): Node {
  return new RegexParser(source).parse(true);
}

class RegexParser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(search: boolean): Node {
    const branches: Node[] = [];
    do branches.push(this.#branch(search)); while (this.#take("|"));
    if (this.#at < this.#source.length) this.#fail("has a ) that closes nothing");
    return choice(...branches);
  }

  /** A branch at the top: the only place of anchors. */
  #branch(search: boolean): Node {
    const starts = this.#take("^");
    const items = this.#items();
    const ends = this.#take("$");
    if (ends && this.#at < this.#source.length && this.#peek() !== "|") {
      this.#fail("has a $ that isn't at the end");
    }
    const before = search && !starts ? [star(ANYTHING)] : [];
    return sequence(...before, ...items, ...(search && !ends ? [star(ANYTHING)] : []));
  }

  #items(): Node[] {
    const items: Node[] = [];
    for (let char = this.#peek(); char !== ""; char = this.#peek()) {
      if (char === "|" || char === ")" || char === "$") break;
      items.push(this.#quantified(this.#atom()));
    }
    return items;
  }

  #atom(): Node {
    const char = this.#next();
    switch (char) {
      case "(":
        return this.#group();
      case "[":
        return { kind: "class", ranges: this.#class() };
      case ".":
        return { kind: "class", ranges: complement(LINE_ENDS) };
      case "\\":
        return { kind: "class", ranges: this.#escape(false) };
      case "^":
        return this.#fail("has a ^ that isn't at the start");
      case "*":
      case "+":
      case "?":
        return this.#fail(`has a ${char} with nothing to repeat`);
      default:
        return { kind: "text", text: char };
    }
  }

  #group(): Node {
    if (this.#take("?")) {
      if (this.#take("<")) {
        if (/^[=!]/.test(this.#rest())) this.#fail("looks behind, which isn't supported");
        const name = /^[\p{L}\p{N}_$]+>/u.exec(this.#rest());
        if (name === null) this.#fail("has a group whose name isn't one");
        this.#at += name[0].length;
      } else if (!this.#take(":")) {
        this.#fail(
          /^[=!]/.test(this.#rest())
            ? "looks ahead, which isn't supported"
            : "has a kind of group that isn't supported",
        );
      }
    }
    if (++this.#depth > MAX_DEPTH) this.#fail(`nests deeper than ${MAX_DEPTH} groups`);
    const branches: Node[] = [];
    do {
      branches.push(sequence(...this.#items()));
      if (this.#peek() === "$") this.#fail("has a $ inside of a group, which isn't supported");
    } while (this.#take("|"));
    if (!this.#take(")")) this.#fail("has a ( that isn't closed");
    this.#depth--;
    return choice(...branches);
  }

  #quantified(item: Node): Node {
    let [min, max] = [1, 1];
    if (this.#take("*")) [min, max] = [0, Infinity];
    else if (this.#take("+")) [min, max] = [1, Infinity];
    else if (this.#take("?")) [min, max] = [0, 1];
    else {
      const bounds = /^\{(\d+)(,(\d*))?\}/.exec(this.#rest());
      if (bounds === null) return item;
      this.#at += bounds[0].length;
      min = Number(bounds[1]);
      max = bounds[2] === undefined ? min : bounds[3] === "" ? Infinity : Number(bounds[3]);
      if (max < min) this.#fail(`has the bounds ${bounds[0]} in the wrong order`);
      const most = Number.isFinite(max) ? max : min;
      if (most > MAX_REPEAT) this.#fail(`repeats more than ${MAX_REPEAT} times`);
    }
    // Lazy or not, the texts are the same.
    this.#take("?");
    if (/^[*+?]/.test(this.#rest())) this.#fail(`repeats a repetition (${this.#peek()})`);
    return max === 0 ? EMPTY : repeat(item, min, max);
  }

  #class(): CodeRange[] {
    const inverted = this.#take("^");
    const ranges: CodeRange[] = [];
    while (!this.#take("]")) {
      if (this.#peek() === "") this.#fail("has a [ that isn't closed");
      const from = this.#classItem();
      const single = from.length === 1 && from[0]![0] === from[0]![1];
      if (single && /^-[^\]]/.test(this.#rest())) {
        this.#next();
        const to = this.#classItem();
        if (to.length !== 1 || to[0]![0] !== to[0]![1] || to[0]![0] < from[0]![0]) {
          this.#fail("has a range in [ ] that isn't from a lower to a higher character");
        }
        ranges.push([from[0]![0], to[0]![0]]);
      } else ranges.push(...from);
    }
    return inverted ? complement(ranges) : ranges;
  }

  #classItem(): CodeRange[] {
    const char = this.#next();
    if (char === "\\") return this.#escape(true);
    const code = char.codePointAt(0)!;
    return [[code, code]];
  }

  #escape(inClass: boolean): CodeRange[] {
    const char = this.#next();
    if (char === "") this.#fail("ends with a \\");
    const known = CLASSES[char];
    if (known !== undefined) return known;
    const code = (value: number): CodeRange[] => [[value, value]];
    if (Object.hasOwn(CONTROLS, char)) return code(CONTROLS[char]!);
    if (inClass && char === "b") return code(8);
    if (/[1-9k]/.test(char)) this.#fail("refers back to a group, which isn't supported");
    if (/[bB]/.test(char)) this.#fail(`has the word border \\${char}, which isn't supported`);
    if (/[pP]/.test(char)) this.#fail(`has the property class \\${char}, which isn't supported`);
    const hex = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})/
      .exec(char + this.#rest());
    if (hex !== null) {
      this.#at += hex[0].length - 1;
      const value = parseInt((hex[1] ?? hex[2] ?? hex[3])!, 16);
      if (value > MAX_CODE) this.#fail(`has the character ${hex[0]}, which doesn't exist`);
      return code(value);
    }
    if (/[a-zA-Z]/.test(char)) this.#fail(`has the escape \\${char}, which isn't supported`);
    return code(char.codePointAt(0)!);
  }

  #rest(): string {
    return this.#source.slice(this.#at, this.#at + 64);
  }

  #peek(): string {
    return this.#source[this.#at] ?? "";
  }

  #next(): string {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) return "";
    const char = String.fromCodePoint(code);
    this.#at += char.length;
    return char;
  }

  #take(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #fail(rule: string): never {
    throw new Failure("invalid", `${rule} (at character ${this.#at})`);
  }
}
