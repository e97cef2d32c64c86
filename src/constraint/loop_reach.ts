// SPDX-License-Identifier: Apache-2.0
/**
 * What can be read in a place inside of a counted loop, for every number of rounds that are left. One walk
 * counts the rounds that each token takes, so that a string of bounded length costs no walk at each of its
 * tokens.
 */
import type { Machine, MachineState } from "./machine.ts";
import { setToken } from "./token_set.ts";
import type { TokenTrie } from "./token_trie.ts";

export class LoopReach {
  readonly #trie: TokenTrie;
  /** For each node: rounds that are done at its end where one ends there, otherwise 0. */
  readonly #rounds: Uint16Array;
  /** Tokens by the rounds that they begin: those that begin r lie before `#until[r]`. */
  readonly #tokens: Int32Array;
  readonly #until: number[];
  /** Masks by the rounds that are left. */
  readonly #masks = new Map<number, Uint32Array>();
  readonly #words: number;

  /** `place`: where the walk starts; `start`: where each further round does. */
  constructor(trie: TokenTrie, machine: Machine, place: number, start: number) {
    this.#trie = trie;
    this.#words = Math.ceil(trie.vocabulary / 32);
    this.#rounds = new Uint16Array(trie.bytes.length);
    const begun: number[][] = [];
    this.#walk(machine, place, start, (node, rounds) => {
      (begun[rounds] ??= []).push(node);
    });
    this.#until = [0];
    const tokens: number[] = [];
    for (let rounds = 1; rounds < begun.length; rounds++) {
      for (const node of begun[rounds] ?? []) {
        tokens.push(trie.tokens[node]!, ...trie.twins.get(node) ?? []);
      }
      this.#until[rounds] = tokens.length;
    }
    this.#tokens = Int32Array.from(tokens);
  }

  get bytes(): number {
    return this.#rounds.byteLength + this.#tokens.byteLength + 4 * this.#words * this.#masks.size;
  }

  /** Rounds that are done at the end of a node's text; 0 where none ends. */
  roundsAt(node: number): number {
    return this.#rounds[node]!;
  }

  /** Adds the tokens that begin no more rounds than are left, the one that the place is in included. */
  addTokens(mask: Uint32Array, left: number): void {
    const rounds = Math.min(left, this.#until.length - 1);
    let known = this.#masks.get(rounds);
    if (known === undefined) {
      known = new Uint32Array(this.#words);
      for (let i = 0; i < this.#until[rounds]!; i++) setToken(known, this.#tokens[i]!);
      this.#masks.set(rounds, known);
    }
    for (let word = 0; word < mask.length; word++) mask[word]! |= known[word]!;
  }

  #walk(
    machine: Machine,
    place: number,
    start: number,
    token: (node: number, rounds: number) => void,
  ): void {
    const { bytes, depths, ends, tokens } = this.#trie;
    const again = machine.close([{ state: start, stack: null }])!;
    const path: MachineState[] = [machine.alone(place)];
    const done: number[] = [0];
    for (let i = 1; i < bytes.length;) {
      const depth = depths[i]!;
      const next = machine.read(path[depth - 1]!, bytes[i]!);
      if (next === null) {
        i = ends[i]!;
        continue;
      }
      const before = done[depth - 1]!;
      if (tokens[i]! >= 0) token(i, before + 1);
      done[depth] = next.accepting ? before + 1 : before;
      if (next.accepting) this.#rounds[i] = before + 1;
      path[depth] = next.accepting ? again : next;
      i++;
    }
  }
}
