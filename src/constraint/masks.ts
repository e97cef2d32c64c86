// SPDX-License-Identifier: Apache-2.0
/**
 * Which tokens may come next, as bits. A walk over the whole vocabulary takes milliseconds, so it is made
 * once for a place of the automaton, whatever lies below on its stack: it says which tokens stay within the
 * place's rule, and where in the tree of tokens the rule may end. Only from there on the stack matters, and
 * few tokens are left. Inside of strings, which is where most tokens are, masks come from the cache.
 */
import { LoopReach } from "./loop_reach.ts";
import type { Frame, Machine, MachineState } from "./machine.ts";
import { setToken, TokenSet } from "./token_set.ts";
import type { TokenTrie } from "./token_trie.ts";

/** What can be read in one place. */
interface Reach {
  tokens: TokenSet;
  /** Nodes at whose end the place's rule may have ended, and tokens go on. */
  exits: Int32Array;
}

/** What one mask may take, in nodes that are visited: half a second. */
const MOST_WORK = 30_000_000;
/** A rule that ends at one node in so many ends at many. */
const MANY_EXITS = 16;
/** Caches of one grammar; strings of bounded length have a mask for each number of characters. */
const MAX_BYTES = 64 * 2 ** 20;

export class MaskMaker {
  readonly #trie: TokenTrie;
  readonly #machine: Machine;
  #reaches = new Map<number, Reach>();
  #loops = new Map<number, LoopReach>();
  /** State of the machine for each depth of the walk. */
  readonly #path: MachineState[] = [];
  #bytes = 0;

  constructor(trie: TokenTrie, machine: Machine) {
    this.#trie = trie;
    this.#machine = machine;
  }

  /** What is cached, in bytes. */
  get bytes(): number {
    return this.#bytes + 3000 * this.#machine.kept;
  }

  /** Forgets what is cached. */
  forget(): void {
    this.#machine.forget();
    this.#reaches = new Map();
    this.#loops = new Map();
    this.#bytes = 0;
  }

  /** The tokens with which an allowed text goes on. The caller must not change it. */
  mask(state: MachineState): Uint32Array {
    if (state.mask !== null) return state.mask;
    if (this.bytes > MAX_BYTES) this.forget();
    this.#machine.allow(MOST_WORK);
    try {
      return state.mask = this.#make(state);
    } finally {
      this.#machine.allow(Infinity);
    }
  }

  #make(state: MachineState): Uint32Array {
    const mask = new Uint32Array(Math.ceil(this.#trie.vocabulary / 32));
    const stacks = new Map<number, Frame[]>();
    for (const { state: place, stack } of state.places) {
      const { bytes, tokens } = this.#machine.automaton.states[place]!;
      for (let i = 0; i < tokens.length; i += 2) setToken(mask, tokens[i]!);
      if (bytes.length === 0) continue;
      if (stack !== null && stack.loop >= 0) {
        this.#addLoop(mask, place, stack);
        continue;
      }
      if (!stacks.has(place)) this.#reachOf(place).tokens.addTo(mask);
      stacks.set(place, [...stacks.get(place) ?? [], ...(stack === null ? [] : [stack])]);
    }
    this.#addExits(mask, state, stacks);
    this.#bytes += mask.byteLength;
    return mask;
  }

  #reachOf(place: number): Reach {
    let reach = this.#reaches.get(place);
    if (reach === undefined) {
      reach = this.#walkPlace(place);
      this.#reaches.set(place, reach);
      this.#bytes += reach.tokens.bytes + reach.exits.byteLength;
    }
    return reach;
  }

  /** Tokens that go on behind the end of a place's rule. */
  #addExits(mask: Uint32Array, state: MachineState, stacks: ReadonlyMap<number, Frame[]>): void {
    let count = 0;
    for (const [place, frames] of stacks) {
      if (frames.length > 0) count += this.#reachOf(place).exits.length;
    }
    // Where a rule may end nearly anywhere, subtrees would be walked again and again.
    if (count > this.#trie.bytes.length / MANY_EXITS) return this.#walk(state, 0, mask, null);
    for (const [place, frames] of stacks) {
      const { exits } = this.#reachOf(place);
      if (frames.length === 0 || exits.length === 0) continue;
      const after = this.#machine.close(
        frames.map(({ back, below }) => ({ state: back, stack: below })),
      );
      if (after === null || after.places.length === 0) continue;
      for (const node of exits) this.#walk(after, node, mask, null);
    }
  }

  #walkPlace(place: number): Reach {
    const mask = new Uint32Array(Math.ceil(this.#trie.vocabulary / 32));
    const exits: number[] = [];
    this.#walk(this.#machine.alone(place), 0, mask, exits);
    return { tokens: new TokenSet(mask), exits: Int32Array.from(exits) };
  }

  /** Marks the tokens below a node that can be read from a state, and where its stack may have ended. */
  #walk(from: MachineState, node: number, mask: Uint32Array, exits: number[] | null): void {
    const { bytes, depths, ends, tokens } = this.#trie;
    const path = this.#path;
    const end = ends[node]!;
    path[depths[node]!] = from;
    let visited = 0;
    for (let i = node + 1; i < end;) {
      visited++;
      const depth = depths[i]!;
      const before = path[depth - 1]!;
      const next = before.next[bytes[i]!] === undefined
        ? this.#machine.read(before, bytes[i]!)
        : before.next[bytes[i]!]!;
      if (next === null) {
        i = ends[i]!;
        continue;
      }
      if (tokens[i]! >= 0) this.#markNode(mask, i);
      if (exits !== null && next.accepting && ends[i]! > i + 1) exits.push(i);
      path[depth] = next;
      i++;
    }
    this.#machine.spend(visited);
  }

  #markNode(mask: Uint32Array, node: number): void {
    setToken(mask, this.#trie.tokens[node]!);
    if (this.#trie.twins.size === 0) return;
    for (const twin of this.#trie.twins.get(node) ?? []) setToken(mask, twin);
  }

  #addLoop(mask: Uint32Array, place: number, stack: Frame): void {
    let reach = this.#loops.get(place);
    const { start, min, max } = this.#machine.automaton.loops[stack.loop]!;
    if (reach === undefined) {
      reach = new LoopReach(this.#trie, this.#machine, place, start);
      this.#loops.set(place, reach);
      this.#bytes += reach.bytes;
    }
    const before = reach.bytes;
    reach.addTokens(mask, max - stack.count);
    this.#bytes += reach.bytes - before;
    const after = this.#machine.close([{ state: stack.back, stack: stack.below }]);
    if (after === null || after.places.length === 0) return;
    for (const node of this.#goingOn(after)) {
      const rounds = reach.roundsAt(this.#trie.parents[node]!);
      if (rounds < 1 || stack.count + rounds < min || stack.count + rounds > max) continue;
      const next = this.#machine.read(after, this.#trie.bytes[node]!)!;
      if (this.#trie.tokens[node]! >= 0) this.#markNode(mask, node);
      this.#walk(next, node, mask, null);
    }
  }

  /** Nodes whose last byte can be read from a state: characters may end anywhere, but few bytes go on. */
  *#goingOn(state: MachineState): Generator<number> {
    const { byByte, byByteFrom } = this.#trie;
    for (let byte = 0; byte < 256; byte++) {
      if (this.#machine.read(state, byte) === null) continue;
      for (let i = byByteFrom[byte]!; i < byByteFrom[byte + 1]!; i++) yield byByte[i]!;
    }
  }
}
