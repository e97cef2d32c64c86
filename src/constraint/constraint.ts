// SPDX-License-Identifier: Apache-2.0
/** What an answer must look like, compiled for one model, and where one answer is in it. */
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { compileGrammar } from "./automaton.ts";
import type { Grammar } from "./grammar.ts";
import { Machine, type MachineState } from "./machine.ts";
import { MaskMaker } from "./masks.ts";
import { setToken } from "./token_set.ts";
import type { TokenTrie } from "./token_trie.ts";

/** Follows the tokens of one answer. */
export interface Matcher {
  /** The tokens that may come next, as bits; null: all of them. Valid until the next call. */
  allowed(): Uint32Array | null;
  /** Reads the token that came. True when the answer is complete and nothing may follow. */
  accept(token: number): boolean;
}

/** Makes a {@linkcode Matcher} for each answer. `ends`: tokens that end an answer where it may end. */
export interface Constraint {
  matcher(ends: ReadonlySet<number>): Matcher;
}

/** A grammar for one model's tokens. */
export class GrammarConstraint implements Constraint {
  readonly #tokenizer: Tokenizer;
  readonly #machine: Machine;
  readonly #masks: MaskMaker;
  #start: MachineState | null = null;

  /** @throws {Failure} `invalid` when the grammar can't be used. */
  constructor(grammar: Grammar, trie: TokenTrie, tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.#machine = new Machine(compileGrammar(grammar));
    this.#masks = new MaskMaker(trie, this.#machine);
  }

  /** Memory that its caches take. */
  get bytes(): number {
    return this.#masks.bytes;
  }

  /** Frees the caches; answers under way go on. */
  forget(): void {
    this.#start = null;
    this.#masks.forget();
  }

  matcher(ends: ReadonlySet<number>): GrammarMatcher {
    this.#start ??= this.#machine.start();
    return new GrammarMatcher(this.#start, ends, this.#tokenizer, this.#machine, this.#masks);
  }
}

export class GrammarMatcher implements Matcher {
  /** null: a token came that was not allowed; the answer counts as complete. */
  #state: MachineState | null;
  readonly #ends: ReadonlySet<number>;
  readonly #tokenizer: Tokenizer;
  readonly #machine: Machine;
  readonly #masks: MaskMaker;

  constructor(
    state: MachineState,
    ends: ReadonlySet<number>,
    tokenizer: Tokenizer,
    machine: Machine,
    masks: MaskMaker,
  ) {
    this.#state = state;
    this.#ends = ends;
    this.#tokenizer = tokenizer;
    this.#machine = machine;
    this.#masks = masks;
  }

  /** Nothing may follow. */
  get complete(): boolean {
    return this.#state === null || this.#state.places.length === 0;
  }

  /** All that came is a start of an allowed text. */
  get matches(): boolean {
    return this.#state !== null;
  }

  /** What came is an allowed text; more may be too. */
  get accepting(): boolean {
    return this.#state?.accepting ?? false;
  }

  allowed(): Uint32Array {
    if (this.#state === null) return new Uint32Array();
    const mask = this.#masks.mask(this.#state);
    if (!this.#state.accepting) return mask;
    const withEnds = mask.slice();
    for (const token of this.#ends) if (token < 32 * mask.length) setToken(withEnds, token);
    return withEnds;
  }

  accept(token: number): boolean {
    if (this.#state === null) return true;
    if (this.#tokenizer.isSpecial(token)) {
      this.#state = this.#machine.readToken(this.#state, token);
    } else this.read(this.#tokenizer.tokenBytes(token));
    return this.complete;
  }

  /** Reads text that came otherwise than as a token. */
  read(bytes: Iterable<number>): boolean {
    for (const byte of bytes) {
      if (this.#state === null) return true;
      this.#state = this.#machine.read(this.#state, byte);
    }
    return this.complete;
  }
}
