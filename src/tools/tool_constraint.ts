// SPDX-License-Identifier: Apache-2.0
/**
 * Constraints of answers that may call tools. When the model chooses, its text is free, and what it starts as a
 * call must become one: the grammar takes over behind the opener, or, where there is none, behind the name.
 */
import type {
  Constraint,
  GrammarConstraint,
  GrammarMatcher,
  Matcher,
} from "../constraint/constraint.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** How a call starts. */
export interface CallStart {
  /** Text that starts one anywhere, and its token where it is a special one; null: only the answer's start. */
  opener: { text: string; token: number | null } | null;
  names: ReadonlySet<string>;
}

const NO_ENDS: ReadonlySet<number> = new Set();
/** A call that names its tool this late is none. */
const MAX_HEAD = 1024;
const HEAD = /^\s*(?:<\|python_tag\|>)?\s*\{\s*"name"\s*:\s*"([^"\\]*)"/;

/** Free text with calls in it. */
export class FreeCalls implements Constraint {
  readonly #body: GrammarConstraint;
  readonly #start: CallStart;
  readonly #tokenizer: Tokenizer;
  readonly #several: boolean;

  /** `body`: what stands behind the opener; without one, the whole call. */
  constructor(body: GrammarConstraint, start: CallStart, tokenizer: Tokenizer, several: boolean) {
    this.#body = body;
    this.#start = start;
    this.#tokenizer = tokenizer;
    this.#several = several;
  }

  matcher(ends: ReadonlySet<number>): Matcher {
    // Inside of a call nothing may end but the call.
    const inner = (last: boolean) => this.#body.matcher(last ? ends : NO_ENDS);
    return new FreeCallsMatcher(inner, this.#start, this.#tokenizer, this.#several);
  }
}

class FreeCallsMatcher implements Matcher {
  readonly #newCall: (last: boolean) => GrammarMatcher;
  readonly #start: CallStart;
  readonly #tokenizer: Tokenizer;
  readonly #several: boolean;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** The call that is being written. */
  #call: GrammarMatcher | null = null;
  /** Text since the answer's start, or as much of its end as an opener may have begun in; null: of no more use. */
  #tail: string | null = "";

  constructor(
    newCall: (last: boolean) => GrammarMatcher,
    start: CallStart,
    tokenizer: Tokenizer,
    several: boolean,
  ) {
    this.#newCall = newCall;
    this.#start = start;
    this.#tokenizer = tokenizer;
    this.#several = several;
  }

  allowed(): Uint32Array | null {
    return this.#call?.allowed() ?? null;
  }

  accept(token: number): boolean {
    if (this.#call !== null) {
      this.#call.accept(token);
      return this.#settle();
    }
    if (this.#tail === null) return false;
    const { opener } = this.#start;
    if (this.#tokenizer.isSpecial(token) && opener?.token === token) {
      this.#call = this.#newCall(false);
      return false;
    }
    this.#tail += this.#decoder.decode(this.#tokenizer.tokenBytes(token), { stream: true });
    if (opener === null) this.#lookAtStart();
    else this.#lookForOpener(opener.text);
    return this.#settle();
  }

  #lookForOpener(opener: string): void {
    const at = this.#tail!.indexOf(opener);
    if (at < 0) {
      this.#tail = this.#tail!.slice(-opener.length);
      return;
    }
    this.#open(this.#tail!.slice(at + opener.length), false);
  }

  #lookAtStart(): void {
    const head = HEAD.exec(this.#tail!);
    if (head !== null) {
      const known = this.#start.names.has(head[1]!);
      if (known) this.#open(this.#tail!.slice(this.#tail!.indexOf("{")), true);
      this.#tail = null;
    } else if (this.#tail!.length > MAX_HEAD) this.#tail = null;
  }

  #open(read: string, last: boolean): void {
    const call = this.#newCall(last);
    call.read(new TextEncoder().encode(read));
    this.#tail = "";
    // What doesn't fit already can't be made to: the text stays free.
    if (call.matches) this.#call = call;
  }

  /** True when the answer is complete. */
  #settle(): boolean {
    if (this.#call === null || !this.#call.complete) return false;
    this.#call = null;
    this.#tail = this.#start.opener === null ? null : "";
    return !this.#several;
  }
}
