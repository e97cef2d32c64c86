// SPDX-License-Identifier: Apache-2.0
/**
 * Runs an automaton: a state of the machine is the set of all places in which the text so far may be, each
 * with its stack of open calls. States are made when they are first needed and kept, so that a byte read
 * twice in the same situation costs a look-up.
 */
import { Failure } from "../errors.ts";
import type { Automaton, State } from "./automaton.ts";

/** What is to be done when a rule, or a round of a loop, has ended. Equal stacks are the same object. */
export interface Frame {
  id: number;
  /** State to go on from. */
  back: number;
  below: Frame | null;
  /** Index of the loop whose rounds are counted, or -1. */
  loop: number;
  /** Rounds that are done. */
  count: number;
  above: Map<number, Frame>;
}

/** A place in the automaton that waits for a byte or a token. */
export interface Place {
  state: number;
  stack: Frame | null;
}

export interface MachineState {
  readonly places: readonly Place[];
  /** The text may end here. */
  readonly accepting: boolean;
  /** By byte; null: nothing goes on with it, undefined: not looked at yet. */
  readonly next: (MachineState | null | undefined)[];
  /** What the maker of masks keeps here. */
  mask: Uint32Array | null;
}

/** Places of a state; more come only of grammars that are ambiguous beyond reason. */
const MAX_PLACES = 2000;
/** What visiting a place costs, where a node of the tokens' tree costs 1. */
const PLACE_WORK = 10;
/** More than the automaton may have, and than a loop may count: three numbers make one key. */
const MAX_LOOPS = 1 << 16;
const MAX_COUNT = 1 << 20;

export class Machine {
  readonly #automaton: Automaton;
  #states = new Map<string, MachineState>();
  /** Ids are never used again: states that outlive a trim keep their frames. */
  #lastFrame = 0;
  #firstKept = 0;
  #bottom = new Map<number, Frame>();

  #workLeft = Infinity;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
  }

  /** States and frames that are kept. */
  get kept(): number {
    return this.#states.size + this.#lastFrame - this.#firstKept;
  }

  get automaton(): Automaton {
    return this.#automaton;
  }

  /** Where a text starts. */
  start(): MachineState {
    return this.close([{ state: this.#automaton.root, stack: null }])!;
  }

  /** The state after one more byte; null when no allowed text goes on with it. */
  read(from: MachineState, byte: number): MachineState | null {
    const known = from.next[byte];
    if (known !== undefined) return known;
    const places: Place[] = [];
    for (const { state, stack } of from.places) {
      const { bytes } = this.#automaton.states[state]!;
      for (let i = 0; i < bytes.length; i += 3) {
        if (byte >= bytes[i]! && byte <= bytes[i + 1]!) {
          places.push({ state: bytes[i + 2]!, stack });
        }
      }
    }
    return from.next[byte] = places.length === 0 ? null : this.close(places);
  }

  /** The state after a special token, or null. */
  readToken(from: MachineState, token: number): MachineState | null {
    const places: Place[] = [];
    for (const { state, stack } of from.places) {
      const { tokens } = this.#automaton.states[state]!;
      for (let i = 0; i < tokens.length; i += 2) {
        if (tokens[i] === token) places.push({ state: tokens[i + 1]!, stack });
      }
    }
    return places.length === 0 ? null : this.close(places);
  }

  /** A single place with an empty stack: what can be read there whatever lies below. */
  alone(state: number): MachineState {
    return this.#intern([{ state, stack: null }], false);
  }

  /** Forgets everything but what is held elsewhere. */
  forget(): void {
    this.#states = new Map();
    this.#bottom = new Map();
    this.#firstKept = this.#lastFrame;
  }

  /** Counts work that was done for one mask. @throws {Failure} `invalid` when it is too much. */
  spend(work: number): void {
    this.#workLeft -= work;
    if (this.#workLeft < 0) throw tooAmbiguous();
  }

  /** Allows so much work from here on. */
  allow(work: number): void {
    this.#workLeft = work;
  }

  /** The state of these places and all that follow from them without reading; null when there is none. */
  close(places: Place[]): MachineState | null {
    const seen = new Set<number>();
    const waiting: Place[] = [];
    let accepting = false;
    const visit = (place: Place) => {
      const key = place.state * 2 ** 32 + (place.stack?.id ?? 0);
      if (seen.has(key)) return;
      seen.add(key);
      if (seen.size > 20 * MAX_PLACES) throw tooAmbiguous();
      places.push(place);
    };
    const given = places.splice(0);
    for (const place of given) visit(place);
    for (let place = places.pop(); place !== undefined; place = places.pop()) {
      const state = this.#automaton.states[place.state]!;
      if (state.bytes.length > 0 || state.tokens.length > 0) waiting.push(place);
      this.#follow(state, place.stack, visit);
      if (!state.final) continue;
      if (place.stack === null) accepting = true;
      else this.#return(place.stack, visit);
    }
    this.spend(PLACE_WORK * seen.size);
    if (waiting.length > MAX_PLACES) throw tooAmbiguous();
    return waiting.length === 0 && !accepting ? null : this.#intern(waiting, accepting);
  }

  #follow(state: State, stack: Frame | null, visit: (place: Place) => void): void {
    for (const target of state.empty) visit({ state: target, stack });
    const { calls, loops } = state;
    for (let i = 0; i < calls.length; i += 2) {
      visit({
        state: this.#automaton.starts[calls[i]!]!,
        stack: this.#isEnd(calls[i + 1]!) ? stack : this.#push(stack, calls[i + 1]!, -1, 0),
      });
    }
    for (let i = 0; i < loops.length; i += 2) {
      this.#round(loops[i]!, 0, loops[i + 1]!, stack, visit);
    }
  }

  /** A call in last place needs no frame: lists that are rules would pile them up. */
  #isEnd(state: number): boolean {
    const { bytes, tokens, calls, loops, empty, final } = this.#automaton.states[state]!;
    return final &&
      bytes.length + tokens.length + calls.length + loops.length + empty.length === 0;
  }

  #return(frame: Frame, visit: (place: Place) => void): void {
    if (frame.loop < 0) visit({ state: frame.back, stack: frame.below });
    else this.#round(frame.loop, frame.count + 1, frame.back, frame.below, visit);
  }

  /** After `count` rounds of a loop: another one, or the end. */
  #round(
    loop: number,
    count: number,
    back: number,
    below: Frame | null,
    visit: (place: Place) => void,
  ): void {
    const { start, min, max } = this.#automaton.loops[loop]!;
    if (count >= min) visit({ state: back, stack: below });
    if (count >= max) return;
    // Without an upper bound, rounds past the least number are all alike.
    const counted = max === Infinity ? Math.min(count, min) : count;
    visit({ state: start, stack: this.#push(below, back, loop, counted) });
  }

  #push(below: Frame | null, back: number, loop: number, count: number): Frame {
    const frames = below?.above ?? this.#bottom;
    const key = (back * MAX_LOOPS + loop + 1) * MAX_COUNT + count;
    let frame = frames.get(key);
    if (frame === undefined) {
      frame = { id: ++this.#lastFrame, back, below, loop, count, above: new Map() };
      frames.set(key, frame);
    }
    return frame;
  }

  #intern(places: Place[], accepting: boolean): MachineState {
    places.sort((a, b) => a.state - b.state || (a.stack?.id ?? 0) - (b.stack?.id ?? 0));
    const key = places.map(({ state, stack }) => `${state}.${stack?.id ?? 0}`).join() +
      (accepting ? "!" : "");
    let known = this.#states.get(key);
    if (known === undefined) {
      known = { places, accepting, next: new Array(256).fill(undefined), mask: null };
      this.#states.set(key, known);
    }
    return known;
  }
}

function tooAmbiguous(): Failure {
  return new Failure(
    "invalid",
    "can be read in too many ways at once: make it less ambiguous, e.g. without nested repetitions",
  );
}
