// SPDX-License-Identifier: Apache-2.0
/**
 * Finds stop strings in a text that arrives in pieces. One automaton (Knuth, Morris and Pratt) a stop
 * string reads each code unit once, so the result cannot depend on how the text was cut into pieces: the
 * stop string that is complete first wins, of several that end together the longest.
 */

/** A stop string with the length of the longest border of each of its prefixes. */
export interface StopPattern {
  text: string;
  borders: Uint32Array;
}

/** Prepares stop strings, none of them empty. Made once a request, shared by its choices. */
export function stopPatterns(stops: readonly string[]): StopPattern[] {
  return stops.map((text) => {
    const borders = new Uint32Array(text.length + 1);
    for (let i = 1, length = 0; i < text.length; i++) {
      while (length > 0 && text[i] !== text[length]) length = borders[length]!;
      if (text[i] === text[length]) length++;
      borders[i + 1] = length;
    }
    return { text, borders };
  });
}

/** A stop string that was found. */
export interface StopMatch {
  stop: string;
  /** Where it starts, in code units from the start of the whole text. */
  start: number;
}

export class StopMatcher {
  readonly #patterns: readonly StopPattern[];
  /** Code units of each pattern that the text ends with. */
  readonly #matched: Uint32Array;
  #position = 0;

  constructor(patterns: readonly StopPattern[]) {
    this.#patterns = patterns;
    this.#matched = new Uint32Array(patterns.length);
  }

  /** Code units at the end of the text that may yet become a stop string. */
  get heldBack(): number {
    let longest = 0;
    for (const matched of this.#matched) if (matched > longest) longest = matched;
    return longest;
  }

  /**
   * Reads the next piece. A stop string that becomes complete while `enabled` is false does not count.
   * After a match nothing more may be pushed.
   */
  push(piece: string, enabled: boolean): StopMatch | null {
    if (this.#patterns.length === 0) return null;
    for (let i = 0; i < piece.length; i++) {
      const longest = this.#read(piece[i]!);
      this.#position++;
      if (longest !== null && enabled) {
        return { stop: longest.text, start: this.#position - longest.text.length };
      }
    }
    return null;
  }

  /** The longest pattern that this code unit completes. */
  #read(unit: string): StopPattern | null {
    let longest: StopPattern | null = null;
    for (let p = 0; p < this.#patterns.length; p++) {
      const pattern = this.#patterns[p]!;
      const { text, borders } = pattern;
      let length = this.#matched[p]!;
      while (length > 0 && unit !== text[length]) length = borders[length]!;
      if (unit === text[length]) length++;
      if (length === text.length) {
        if (longest === null || text.length > longest.text.length) longest = pattern;
        length = borders[length]!;
      }
      this.#matched[p] = length;
    }
    return longest;
  }
}
