// SPDX-License-Identifier: Apache-2.0
/**
 * JSON itself. White space is bounded, since models that may write any amount of it sometimes never stop;
 * so are the digits of numbers, which stay within what a double can hold.
 */
import {
  chars,
  choice,
  type CodeRange,
  complement,
  EMPTY,
  type GrammarBuilder,
  intersection,
  type Node,
  optional,
  repeat,
  sequence,
  star,
  text,
} from "./grammar.ts";

export const DIGIT = chars("0-9");
const HEX = chars("0-9", "a-f", "A-F");
const CONTROLS: CodeRange = [0, 0x1f];
const QUOTE: CodeRange = [0x22, 0x22];
const BACKSLASH: CodeRange = [0x5c, 0x5c];
/** Characters that stand for themselves in a string. */
const PLAIN = complement([CONTROLS, QUOTE, BACKSLASH]);

/** `\uXXXX` but for surrogates: half of a pair would not be a text. */
const UNICODE_ESCAPE = sequence(
  text("u"),
  choice(
    sequence(chars("0-9", "a-c", "A-C", "e-f", "E-F"), HEX, HEX, HEX),
    sequence(chars("d", "D"), chars("0-7"), HEX, HEX),
  ),
);

/** One character of a string, any of them. */
export const STRING_CHARACTER: Node = choice(
  { kind: "class", ranges: PLAIN },
  sequence(
    text("\\"),
    choice(chars('"', "\\", "/", "b", "f", "n", "r", "t"), UNICODE_ESCAPE),
  ),
);

/** Most digits before the point and behind it. */
const MOST_DIGITS = 15;

export const NATURAL: Node = choice(
  text("0"),
  sequence(chars("1-9"), repeat(DIGIT, 0, MOST_DIGITS - 1)),
);
export const FRACTION: Node = sequence(text("."), repeat(DIGIT, 1, MOST_DIGITS));
export const INTEGER: Node = sequence(optional(text("-")), NATURAL);
export const NUMBER: Node = sequence(
  INTEGER,
  optional(FRACTION),
  optional(sequence(chars("e", "E"), optional(chars("+", "-")), DIGIT, optional(DIGIT))),
);

/** The characters of a string as JSON writes them: those that need it escaped, each in one way. */
export function asJsonCharacters(ranges: readonly CodeRange[]): Node {
  const plain = intersection(ranges, PLAIN);
  const escaped: Node[] = [];
  for (const [from, to] of intersection(ranges, [CONTROLS, QUOTE, BACKSLASH])) {
    for (let code = from; code <= to; code++) {
      escaped.push(text(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
    }
  }
  const classes: Node[] = plain.length > 0 ? [{ kind: "class", ranges: plain }] : [];
  return { kind: "choice", items: [...classes, ...escaped] };
}

/** A node over the characters of a string's value, as JSON writes that value. */
export function asJson(node: Node): Node {
  switch (node.kind) {
    case "class":
      return asJsonCharacters(node.ranges);
    case "text":
      return text(JSON.stringify(node.text).slice(1, -1));
    case "sequence":
    case "choice":
      return { kind: node.kind, items: node.items.map(asJson) };
    case "repeat":
      return { ...node, item: asJson(node.item) };
    default:
      return node;
  }
}

/** The rules of JSON in a grammar, each made when it is first used. */
export class JsonRules {
  readonly #builder: GrammarBuilder;
  readonly #made = new Map<string, Node>();

  constructor(builder: GrammarBuilder) {
    this.#builder = builder;
  }

  #rule(name: string, make: () => Node): Node {
    let node = this.#made.get(name);
    if (node === undefined) {
      const rule = this.#builder.reserve();
      node = { kind: "rule", rule };
      this.#made.set(name, node);
      this.#builder.define(rule, make());
    }
    return node;
  }

  /** Nothing, a space, or a new line and some indentation. */
  get space(): Node {
    return this.#rule("space", () =>
      choice(
        EMPTY,
        text(" "),
        sequence(text("\n"), repeat(chars(" ", "\t"), 0, 20)),
      ));
  }

  get string(): Node {
    return this.#rule("string", () => quoted(star(STRING_CHARACTER)));
  }

  get number(): Node {
    return this.#rule("number", () => NUMBER);
  }

  get integer(): Node {
    return this.#rule("integer", () => INTEGER);
  }

  get array(): Node {
    return this.#rule("array", () => this.list("[", this.value, "]"));
  }

  get object(): Node {
    return this.#rule("object", () => this.list("{", this.member(this.string, this.value), "}"));
  }

  get value(): Node {
    return this.#rule("value", () =>
      choice(
        this.object,
        this.array,
        this.string,
        this.number,
        text("true"),
        text("false"),
        text("null"),
      ));
  }

  member(key: Node, value: Node): Node {
    return sequence(key, this.space, text(":"), this.space, value);
  }

  get comma(): Node {
    return this.#rule("comma", () => sequence(this.space, text(","), this.space));
  }

  /** Any number of items between brackets. */
  list(open: string, item: Node, close: string): Node {
    const items = sequence(item, star(sequence(this.comma, item)));
    return this.enclosed(open, optional(items), close);
  }

  enclosed(open: string, content: Node, close: string): Node {
    return sequence(text(open), this.space, content, this.space, text(close));
  }
}

export function quoted(content: Node): Node {
  return sequence(text('"'), content, text('"'));
}
