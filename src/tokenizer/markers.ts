// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps special tokens in messages text. Before a template is rendered, every special token inside a
 * message is broken by a marker that no text contains; what is whole after rendering was written by the
 * template. The encoder drops the markers again, so that pieces form across the border of template and
 * message exactly as if the rendered text had been tokenized as a whole.
 */
import { AddedTokenFinder } from "./added_tokens.ts";
import type { Markers } from "./encoder.ts";
import type { AddedToken } from "./spec.ts";

/** The markers of one chat: those of the encoder, and one for the end of a message to be continued. */
export interface ChatMarkers extends Markers {
  end: string;
}

/** Noncharacters: no text needs them, and no template tests for them. */
const [A, B, C] = ["\ufdd0", "\ufdd1", "\ufdd2"];

/**
 * Markers that do not occur in the texts. Texts with the noncharacters get longer markers: more of one
 * noncharacter in a row than any text has.
 */
export function chooseMarkers(texts: Iterable<string>): ChatMarkers {
  let longest = -1;
  for (const text of texts) {
    if (!/[\ufdd0-\ufdd2]/.test(text)) continue;
    longest = Math.max(longest, 0);
    for (const run of text.match(/\ufdd1+/g) ?? []) longest = Math.max(longest, run.length);
  }
  if (longest < 0) return { cut: A, escape: B, end: C };
  const marker = (more: number) => A + B.repeat(longest + more) + A;
  return { cut: marker(1), escape: marker(2), end: marker(3) };
}

/** Breaks special tokens in texts. */
export class SpecialTokenGuard {
  readonly #finder: AddedTokenFinder;
  readonly #reversed: AddedTokenFinder;
  readonly #contents: ReadonlySet<string>;

  constructor(added: readonly AddedToken[]) {
    const special = added.filter((token) => token.special);
    this.#contents = new Set(special.map((token) => token.content));
    this.#finder = new AddedTokenFinder(special);
    this.#reversed = new AddedTokenFinder(
      special.map((token) => ({ ...token, content: reverse(token.content) })),
    );
  }

  /** Texts that markers must not occur in. */
  get contents(): Iterable<string> {
    return this.#contents;
  }

  /** The text with every special token in it broken. */
  breakInside(text: string, markers: Markers): string {
    const places = this.#finder.starts(text);
    if (places.length === 0) return text;
    const parts: string[] = [];
    let from = 0;
    for (const at of places) {
      const after = at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
      parts.push(text.slice(from, at));
      // A token of one character has no inside.
      if (this.#contents.has(text.slice(at, after))) parts.push(markers.escape);
      parts.push(text.slice(at, after), markers.cut);
      from = after;
    }
    parts.push(text.slice(from));
    return parts.join("");
  }

  /**
   * Like `breakInside`, and also keeps a token from forming out of this text and what the template puts
   * beside it. White space stays outermost, so that a template can still trim the text.
   */
  breakAll(text: string, markers: Markers): string {
    const start = text.length - text.trimStart().length;
    const end = text.trimEnd().length;
    if (start >= end) return text;
    const body = text.slice(start, end);
    const before = this.#reversed.endsInside(reverse(body.slice(0, 256))) ? markers.cut : "";
    const behind = this.#finder.endsInside(body) ? markers.cut : "";
    return text.slice(0, start) + before + this.breakInside(body, markers) + behind +
      text.slice(end);
  }
}

function reverse(text: string): string {
  // By UTF-16 unit: only used to walk token texts from their end.
  let reversed = "";
  for (let i = text.length - 1; i >= 0; i--) reversed += text[i];
  return reversed;
}

/** The text as people should see it. */
export function withoutMarkers(text: string, markers: ChatMarkers): string {
  return text.replaceAll(markers.cut, "").replaceAll(markers.escape, "");
}
