// SPDX-License-Identifier: Apache-2.0
/** Reads the JSON object of a call as it comes, character by character, and says when its parts are there. */

/** What a scanner found. */
export interface ScannerEvents {
  /** The name is known. False: there is no such tool, the object is no call. */
  name(name: string): boolean;
  /** A piece of the arguments' text; only after the name. */
  arguments(text: string): void;
}

type Place = "start" | "key_or_end" | "key" | "colon" | "value" | "comma_or_end" | "end";

const BLANK = /\s/;
/** Longest name or key; what is longer is no call. */
const MAX_STRING = 1024;

export class CallScanner {
  readonly #argumentKeys: readonly string[];
  readonly #events: ScannerEvents;
  #place: Place = "start";
  #key = "";
  /** The value or key that is being read, when it is kept. */
  #raw = "";
  #named = false;
  /** Arguments that came before the name, or as a string. */
  #kept: string | null = null;
  /** They are complete. */
  #argued = false;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #failed = false;

  constructor(argumentKeys: readonly string[], events: ScannerEvents) {
    this.#argumentKeys = argumentKeys;
    this.#events = events;
  }

  /** The object is complete and was a call. */
  get done(): boolean {
    return this.#place === "end" && !this.#failed;
  }

  /** It is no call. Only before its name was told. */
  get failed(): boolean {
    return this.#failed;
  }

  /** The name was told. */
  get named(): boolean {
    return this.#named;
  }

  /** The arguments are complete. */
  get argued(): boolean {
    return this.#argued;
  }

  /** Reads up to the end of the object; returns how many characters it took. */
  push(text: string): number {
    let piece = "";
    let at = 0;
    while (at < text.length && this.#place !== "end" && !this.#failed) {
      const char = text[at++]!;
      if (this.#place === "value" && this.#isArguments) piece += this.#argument(char);
      else this.#read(char);
    }
    if (piece !== "") this.#events.arguments(piece);
    return at;
  }

  get #isArguments(): boolean {
    return this.#argumentKeys.includes(this.#key);
  }

  #read(char: string): void {
    if (this.#place === "key") return this.#readKey(char);
    if (this.#place === "value") return this.#readValue(char);
    if (BLANK.test(char)) return;
    const next = nextPlace(this.#place, char);
    if (next === null) return this.#fail();
    this.#place = next;
    this.#raw = next === "key" ? '"' : "";
    if (next === "key") this.#inString = true;
    if (next === "end") this.#end();
  }

  #readKey(char: string): void {
    this.#raw += char;
    this.#track(char);
    if (this.#raw.length > MAX_STRING) return this.#fail();
    if (this.#inString) return;
    const key = parsed(this.#raw);
    if (typeof key !== "string") return this.#fail();
    this.#key = key;
    this.#place = "colon";
  }

  /** A value that isn't the arguments: the name is kept, others are passed over. */
  #readValue(char: string): void {
    if (this.#depth === 0 && !this.#inString && (char === "," || char === "}")) {
      if (this.#raw.trim() === "") return this.#fail();
      return this.#valueEnded(char);
    }
    this.#track(char);
    this.#raw += char;
    if (this.#raw.length > MAX_STRING && this.#key === "name") this.#fail();
  }

  #valueEnded(char: string): void {
    if (this.#key === "name") this.#tell(parsed(this.#raw.trim()));
    if (this.#failed) return;
    this.#place = char === "," ? "key_or_end" : "end";
    this.#raw = "";
    if (char === "}") this.#end();
  }

  /** One character of the arguments; returns what may be told of it at once. */
  #argument(char: string): string {
    if (this.#depth === 0 && !this.#inString) {
      if (char === "," || char === "}") {
        this.#argumentsEnded(char);
        return "";
      }
      if (BLANK.test(char)) return "";
      if (this.#argued || (char !== "{" && char !== '"' && this.#raw === "")) {
        // A value that is neither an object nor the text of one.
        if (!this.#named) this.#fail();
        return "";
      }
    }
    const first = this.#raw === "";
    this.#track(char);
    if (first) this.#raw = char;
    if (this.#depth === 0 && !this.#inString) this.#argued = true;
    // The text of a string is told when it is whole: its escapes have to be read.
    if (this.#named && this.#raw !== '"') return char;
    this.#kept = (this.#kept ?? "") + char;
    return "";
  }

  #argumentsEnded(char: string): void {
    this.#argued = true;
    this.#place = char === "," ? "key_or_end" : "end";
    this.#raw = "";
    if (this.#named) this.#tellKept();
    if (char === "}") this.#end();
  }

  #tell(name: unknown): void {
    if (this.#named || typeof name !== "string" || !this.#events.name(name)) return this.#fail();
    this.#named = true;
    if (this.#argued) this.#tellKept();
  }

  #tellKept(): void {
    if (this.#kept === null) return;
    const whole = parsed(this.#kept);
    this.#events.arguments(typeof whole === "string" ? whole : this.#kept);
    this.#kept = null;
  }

  #end(): void {
    if (!this.#named) return this.#fail();
    // A call without arguments has none.
    if (!this.#argued) this.#events.arguments("{}");
  }

  #fail(): void {
    if (!this.#named) this.#failed = true;
    else this.#place = "end";
  }

  #track(char: string): void {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (char === "\\") this.#escaped = true;
      else if (char === '"') this.#inString = false;
    } else if (char === '"') this.#inString = true;
    else if (char === "{" || char === "[") this.#depth++;
    else if (char === "}" || char === "]") this.#depth--;
  }
}

function nextPlace(place: Place, char: string): Place | null {
  switch (place) {
    case "start":
      return char === "{" ? "key_or_end" : null;
    case "key_or_end":
      return char === '"' ? "key" : char === "}" ? "end" : null;
    case "colon":
      return char === ":" ? "value" : null;
    default:
      return null;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
