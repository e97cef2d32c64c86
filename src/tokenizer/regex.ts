// SPDX-License-Identifier: Apache-2.0
/**
 * Turns an Oniguruma expression (Ruby syntax, as `tokenizer.json` has them) into JavaScript's, flag `v`.
 * The two differ in what `\s`, `^` and `$` mean, in inline flags, possessive quantifiers and escapes.
 * Groups are made non-capturing: what is split off is always the whole match.
 */
import { Failure } from "../errors.ts";
import { ANCHORS, CLASSES, CONTROLS, POSIX } from "./regex_names.ts";

/** @throws {Failure} kind `model` naming the expression when it cannot be read. */
export function translateRegex(pattern: string): string {
  const translated = new Translator(pattern).translate();
  try {
    new RegExp(translated, "v");
  } catch (error) {
    throw unreadable(pattern, error instanceof Error ? error.message : String(error));
  }
  return translated;
}

function unreadable(pattern: string, why: string): Failure {
  const shown = pattern.length > 200 ? pattern.slice(0, 200) + "…" : pattern;
  return new Failure(
    "model",
    `The tokenizer splits with an expression that cannot be read here: ${shown} (${why}).`,
  );
}

function isLetterOrDigit(character: string): boolean {
  return /^[A-Za-z0-9]$/.test(character);
}

function literal(character: string): string {
  return isLetterOrDigit(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

class Translator {
  readonly #characters: string[];
  #at = 0;
  #groups = 0;
  /** For each open group: whether `.` takes newlines, and the brackets that close it. */
  readonly #open: { dotAll: boolean; close: string; start: number }[] = [];
  #dotAll = false;
  /** Closes flags without a group of their own, as in `(?i)`: they reach to the end. */
  #tail = "";

  constructor(readonly pattern: string) {
    this.#characters = [...pattern];
  }

  translate(): string {
    const out: string[] = [];
    /** Where in `out` the last thing that can be repeated starts. */
    let atom = 0;
    while (this.#at < this.#characters.length) {
      const quantifier = this.#quantifier();
      if (quantifier !== null) {
        this.#repeat(out, atom, quantifier);
        continue;
      }
      const character = this.#next();
      const before = out.length;
      if (character === ")") {
        const group = this.#open.pop();
        if (!group) throw unreadable(this.pattern, "unmatched )");
        out.push(group.close);
        this.#dotAll = group.dotAll;
        atom = group.start;
        continue;
      }
      out.push(character === "(" ? this.#group(before) : this.#single(character));
      atom = character === "|" ? out.length : before;
    }
    if (this.#open.length > 0) throw unreadable(this.pattern, "a group is not closed");
    return out.join("") + this.#tail;
  }

  #next(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw unreadable(this.pattern, "it ends too early");
    return character;
  }

  #peek(text: string): boolean {
    return this.#characters.slice(this.#at, this.#at + text.length).join("") === text;
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  #single(character: string): string {
    switch (character) {
      case "|":
        return "|";
      case ".":
        return this.#dotAll ? "[^]" : "[^\\n]";
      case "^":
        return "(?<![^\\n])";
      case "$":
        return "(?![^\\n])";
      case "[":
        return this.#class();
      case "\\":
        return this.#escape(false);
      default:
        return literal(character);
    }
  }

  #quantifier(): string | null {
    const character = this.#characters[this.#at]!;
    if ("*+?".includes(character)) {
      this.#at++;
      return character;
    }
    if (character !== "{") return null;
    const rest = this.#characters.slice(this.#at, this.#at + 24).join("");
    const match = /^\{(\d{0,6})(,?)(\d{0,6})\}/.exec(rest);
    if (!match || (match[1] === "" && match[3] === "")) return null;
    this.#at += match[0].length;
    return `{${match[1] || "0"}${match[2]}${match[3]}}`;
  }

  /** Puts the quantifier behind the atom; a possessive one becomes a look-ahead that is not re-entered. */
  #repeat(out: string[], atom: number, quantifier: string): void {
    if (atom >= out.length) throw unreadable(this.pattern, "nothing to repeat");
    const repeated = out.splice(atom).join("");
    const isRange = quantifier.startsWith("{");
    if (!isRange && this.#take("+")) {
      const name = `p${this.#groups++}`;
      out.push(`(?:(?=(?<${name}>(?:${repeated})${quantifier}))\\k<${name}>)`);
    } else if (this.#take("?")) {
      out.push(`(?:(?:${repeated})${quantifier}?)`);
    } else {
      out.push(`(?:(?:${repeated})${quantifier})`);
    }
  }

  #group(start: number): string {
    const open = (text: string, close = ")") => {
      this.#open.push({ dotAll: this.#dotAll, close, start });
      return text;
    };
    if (!this.#take("?")) return open("(?:");
    for (const kind of [":", "=", "!", "<=", "<!"]) if (this.#take(kind)) return open(`(?${kind}`);
    if (this.#take(">")) {
      const name = `p${this.#groups++}`;
      return open(`(?:(?=(?<${name}>`, `))\\k<${name}>)`);
    }
    const rest = this.#characters.slice(this.#at, this.#at + 80).join("");
    const name = /^(?:<[A-Za-z_]\w*>|'[A-Za-z_]\w*')/.exec(rest);
    if (name) {
      this.#at += name[0].length;
      return open("(?:");
    }
    const flags = /^([imx]*)(?:-([imx]*))?([:)])/.exec(rest);
    if (!flags || (flags[1] + (flags[2] ?? "")).includes("x")) {
      throw unreadable(this.pattern, `(?${rest.slice(0, 4)} is not supported`);
    }
    this.#at += flags[0].length;
    return this.#flags(flags[1]!, flags[2] ?? "", flags[3] === ":", open);
  }

  #flags(on: string, off: string, scoped: boolean, open: (text: string) => string): string {
    const change = `${on.includes("i") ? "i" : ""}${off.includes("i") ? "-i" : ""}`;
    if (scoped) {
      const text = open(`(?${change}:`);
      this.#dotAll = on.includes("m") || (this.#dotAll && !off.includes("m"));
      return text;
    }
    this.#dotAll = on.includes("m") || (this.#dotAll && !off.includes("m"));
    // (?i) alone holds until its group ends, over alternatives too.
    const group = this.#open.at(-1);
    if (group) group.close = ")" + group.close;
    else this.#tail += ")";
    return `(?${change}:`;
  }

  #escape(inClass: boolean): string {
    const character = this.#next();
    const known = CLASSES.get(character) ?? (inClass ? undefined : ANCHORS.get(character));
    if (known !== undefined) return known;
    if (inClass && character === "b") return "\\u{8}";
    const control = CONTROLS.get(character);
    if (control !== undefined) return `\\u{${control.toString(16)}}`;
    if (character === "p" || character === "P") return this.#property(character);
    if (character === "x" || character === "u") return this.#codePoint(character);
    if (isLetterOrDigit(character)) {
      throw unreadable(this.pattern, `\\${character} is not supported`);
    }
    return literal(character);
  }

  #codePoint(kind: string): string {
    const rest = this.#characters.slice(this.#at, this.#at + 10).join("");
    const match =
      (kind === "x" ? /^\{([0-9a-fA-F]{1,6})\}|^([0-9a-fA-F]{1,2})/ : /^([0-9a-fA-F]{4})/)
        .exec(rest);
    if (!match) throw unreadable(this.pattern, `\\${kind} without digits`);
    this.#at += match[0].length;
    return `\\u{${(match[1] ?? match[2])!}}`;
  }

  #property(kind: string): string {
    const rest = this.#characters.slice(this.#at, this.#at + 60).join("");
    const match = /^\{(\^?)([A-Za-z0-9_=\- ]+)\}/.exec(rest);
    if (!match) throw unreadable(this.pattern, `\\${kind} without a name`);
    this.#at += match[0].length;
    const positive = (kind === "p") !== (match[1] === "^");
    const name = match[2]!;
    const posix = POSIX.get(name.toLowerCase());
    if (posix) return positive ? `[${posix}]` : `[^${posix}]`;
    for (const candidate of [name, `Script=${name}`]) {
      const text = `\\${positive ? "p" : "P"}{${candidate}}`;
      try {
        new RegExp(text, "v");
        return text;
      } catch {
        continue;
      }
    }
    throw unreadable(this.pattern, `there is no property ${name}`);
  }

  /** A class whose opening bracket has been read. */
  #class(): string {
    const start = this.#take("^") ? "[^" : "[";
    /** What stands between `&&`. */
    const operands: string[] = [];
    let out = "";
    for (let isFirst = true;; isFirst = false) {
      if (this.#take("&&")) {
        operands.push(out);
        out = "";
        continue;
      }
      const posix = this.#posix();
      if (posix !== null) {
        out += posix;
        continue;
      }
      const character = this.#next();
      if (character === "]" && !isFirst) break;
      if (character === "[") out += this.#class();
      else if (character === "\\") out += this.#escape(true);
      else if (character === "-" && !isFirst && !this.#peek("]")) out += "-";
      else out += literal(character);
    }
    if (operands.length === 0) return `${start}${out}]`;
    return `${start}${[...operands, out].map((operand) => `[${operand}]`).join("&&")}]`;
  }

  /** `[:alpha:]` inside of a class. */
  #posix(): string | null {
    const rest = this.#characters.slice(this.#at, this.#at + 16).join("");
    const match = /^\[:(\^?)([a-z]+):\]/.exec(rest);
    const members = match && POSIX.get(match[2]!);
    if (!match || !members) return null;
    this.#at += match[0].length;
    return match[1] ? `[^${members}]` : members;
  }
}
