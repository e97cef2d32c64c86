// SPDX-License-Identifier: Apache-2.0
/**
 * Finds calls of tools in an answer as it comes. What only looks like a call stays text: an object is a call
 * once it has named a tool that there is, and before that nothing of it is told.
 */
import { CallScanner } from "./call_scanner.ts";
import { type Dialect, PYTHON_TAG } from "./dialect.ts";

/** A piece of an answer. */
export type AnswerPart =
  | { type: "text"; text: string }
  /** A call begins; its arguments follow. */
  | { type: "call"; index: number; name: string }
  | { type: "arguments"; index: number; text: string };

/**
 * - `text`: no call is open
 * - `opened`: behind an opener, a call must start here
 * - `object`: in the object of a call
 * - `named`: in the arguments of a call whose name stood before them
 * - `between`: behind a call: a closer, another call, or text
 */
type Mode = "text" | "opened" | "object" | "named" | "between";

/** Longest name in the form `named`, with its mark. */
const MAX_NAME = 512;

export class CallParser {
  readonly #dialect: Dialect;
  readonly #names: ReadonlySet<string>;
  #mode: Mode = "text";
  /** Not decided yet. */
  #buffer = "";
  /** Since the opener: text, should it turn out to be no call. */
  #unsure = "";
  #scanner: CallScanner | null = null;
  #calls = 0;
  /** White space that follows belongs to the call before it. */
  #afterCall = false;
  /** Nothing but white space came before. */
  #atStart = true;
  #parts: AnswerPart[] = [];

  constructor(dialect: Dialect, names: Iterable<string>) {
    this.#dialect = dialect;
    this.#names = new Set(names);
  }

  /** Calls so far. */
  get calls(): number {
    return this.#calls;
  }

  /** Reads more of the answer. */
  push(text: string): AnswerPart[] {
    this.#buffer += text;
    while (this.#step());
    return this.#taken();
  }

  /** The answer has ended. */
  finish(): AnswerPart[] {
    const open = this.#scanner !== null && this.#scanner.named;
    const rest = open ? "" : this.#unsure + this.#buffer;
    this.#unsure = this.#buffer = "";
    this.#scanner = null;
    // White space behind calls says nothing.
    if (rest !== "" && !(this.#calls > 0 && rest.trim() === "")) this.#say(rest);
    return this.#taken();
  }

  #taken(): AnswerPart[] {
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  /** One decision; false when more text is needed. */
  #step(): boolean {
    if (this.#buffer === "") return false;
    switch (this.#mode) {
      case "text":
        if (this.#afterCall && !this.#passBlanks()) return false;
        return this.#dialect.opener === null ? this.#fromStart() : this.#untilOpener();
      case "opened":
        return this.#opened();
      case "object":
      case "named":
        return this.#inCall();
      case "between":
        return this.#between();
    }
  }

  /** Without an opener, only an answer that starts with an object can be a call. */
  #fromStart(): boolean {
    if (!this.#atStart) return this.#sayAll();
    const rest = this.#buffer.trimStart();
    if (rest === "" || (PYTHON_TAG.startsWith(rest) && rest !== PYTHON_TAG)) return false;
    const tagged = rest.startsWith(PYTHON_TAG) ? rest.slice(PYTHON_TAG.length) : rest;
    if (tagged.trimStart() === "") return false;
    this.#atStart = false;
    if (!/^\s*[{[]/.test(tagged)) return this.#sayAll();
    this.#unsure = this.#buffer.slice(0, this.#buffer.length - tagged.length);
    this.#buffer = tagged;
    this.#mode = "opened";
    return true;
  }

  #untilOpener(): boolean {
    const opener = this.#dialect.opener!;
    const at = this.#buffer.indexOf(opener);
    if (at < 0) return this.#sayBut(opener);
    const before = this.#buffer.slice(0, at);
    this.#say(before.trimEnd());
    this.#unsure = before.slice(before.trimEnd().length) + opener;
    this.#buffer = this.#buffer.slice(at + opener.length);
    this.#mode = "opened";
    return true;
  }

  /** Says all but what may be the start of an opener, and white space, which a call would swallow. */
  #sayBut(opener: string): boolean {
    let keep = Math.min(opener.length - 1, this.#buffer.length);
    while (keep > 0 && !opener.startsWith(this.#buffer.slice(-keep))) keep--;
    const free = this.#buffer.slice(0, this.#buffer.length - keep).trimEnd();
    this.#say(free);
    this.#buffer = this.#buffer.slice(free.length);
    return false;
  }

  #opened(): boolean {
    const text = this.#buffer.trimStart();
    if (text === "") return false;
    const { form } = this.#dialect;
    if (text[0] === "[" && form !== "named" && !/^\[\s*\]/.test(text)) {
      const list = text.slice(1).trimStart();
      if (list === "") return false;
      if (list[0] === "{") return this.#startObject(this.#buffer.length - list.length);
    }
    if (text[0] === "{") return this.#startObject(this.#buffer.length - text.length);
    if (form === "list" || form === "named") return this.#startNamed(text);
    return this.#giveUp();
  }

  #startObject(at: number): boolean {
    this.#unsure += this.#buffer.slice(0, at);
    this.#buffer = this.#buffer.slice(at);
    const { argumentsKey } = this.#dialect;
    const keys = argumentsKey === "parameters"
      ? ["parameters", "arguments"]
      : ["arguments", "parameters"];
    this.#scanner = new CallScanner(keys, {
      name: (name) => this.#begin(name),
      arguments: (text) => this.#argue(text),
    });
    this.#mode = "object";
    return true;
  }

  /** `name[ARGS]{…}`, and `name{…}`. */
  #startNamed(text: string): boolean {
    const match = /^([^[{\s]+)\s*(?:\[CALL_ID\][^[{]*)?(\[ARGS\])?\s*(?=\{)/.exec(text);
    if (match === null) {
      const whole = text.length > MAX_NAME || (text.includes("{") && !text.startsWith("{"));
      return whole ? this.#giveUp() : false;
    }
    if (!this.#begin(match[1]!)) return this.#giveUp();
    this.#buffer = text.slice(match[0].length);
    // The arguments are read as if the object had started before them.
    this.#scanner = new CallScanner(["arguments"], {
      name: () => true,
      arguments: (piece) => this.#argue(piece),
    });
    this.#scanner.push('{"name":"x","arguments":');
    this.#mode = "named";
    return true;
  }

  #begin(name: string): boolean {
    if (!this.#names.has(name)) return false;
    this.#parts.push({ type: "call", index: this.#calls++, name });
    this.#unsure = "";
    return true;
  }

  #argue(text: string): void {
    const last = this.#parts.at(-1);
    if (last?.type === "arguments") last.text += text;
    else this.#parts.push({ type: "arguments", index: this.#calls - 1, text });
  }

  #inCall(): boolean {
    const scanner = this.#scanner!;
    const read = this.#mode === "named" ? this.#pushNamed(scanner) : scanner.push(this.#buffer);
    const piece = this.#buffer.slice(0, read);
    this.#buffer = this.#buffer.slice(read);
    if (!scanner.named) this.#unsure += piece;
    if (scanner.failed) return this.#giveUp();
    if (!scanner.done) return false;
    this.#scanner = null;
    this.#mode = "between";
    return true;
  }

  /** The arguments' own end is the call's: nothing else closes it. */
  #pushNamed(scanner: CallScanner): number {
    for (let at = 0; at < this.#buffer.length; at++) {
      scanner.push(this.#buffer[at]!);
      if (scanner.argued) {
        scanner.push("}");
        return at + 1;
      }
    }
    return this.#buffer.length;
  }

  #between(): boolean {
    const { closer, opener, form } = this.#dialect;
    const text = this.#buffer.trimStart();
    if (text === "") return false;
    if (closer !== null) {
      if (text.startsWith(closer)) return this.#close(text.slice(closer.length));
      return closer.startsWith(text) ? false : this.#close(text);
    }
    if (form === "named") return this.#close(text);
    if (text[0] === "]") return this.#close(text.slice(1));
    const next = text.replace(/^[,;]\s*/, "");
    if (next === "") return false;
    if (opener === null && !next.startsWith(PYTHON_TAG) && PYTHON_TAG.startsWith(next)) {
      return false;
    }
    const tagged = next.startsWith(PYTHON_TAG) ? next.slice(PYTHON_TAG.length).trimStart() : next;
    if (tagged === "") return false;
    if (tagged[0] !== "{") return this.#close(text);
    this.#unsure = this.#buffer.slice(0, this.#buffer.length - tagged.length);
    this.#buffer = tagged;
    return this.#startObject(0);
  }

  #close(rest: string): boolean {
    this.#buffer = rest;
    this.#mode = "text";
    this.#afterCall = true;
    return true;
  }

  /** False while nothing else came. */
  #passBlanks(): boolean {
    this.#buffer = this.#buffer.trimStart();
    this.#afterCall = this.#buffer === "";
    return !this.#afterCall;
  }

  /** It was text after all. */
  #giveUp(): boolean {
    this.#say(this.#unsure);
    this.#unsure = "";
    this.#scanner = null;
    this.#mode = "text";
    return true;
  }

  #sayAll(): boolean {
    this.#say(this.#buffer);
    this.#buffer = "";
    return false;
  }

  #say(text: string): void {
    if (text === "") return;
    const last = this.#parts.at(-1);
    if (last?.type === "text") last.text += text;
    else this.#parts.push({ type: "text", text });
  }
}
