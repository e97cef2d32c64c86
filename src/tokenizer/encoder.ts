// SPDX-License-Identifier: Apache-2.0
/** From text to token ids. Runs on the event loop and in the worker alike. */
import { type AddedMatch, AddedTokenFinder } from "./added_tokens.ts";
import { compileNormalizers } from "./normalizers.ts";
import { IdBuffer, PieceEncoder } from "./piece_encoder.ts";
import type { TokenizerSpec } from "./spec.ts";
import { compileSplits } from "./splits.ts";

/**
 * Characters that mark what must stay text; see `markers.ts`. They are dropped before anything is
 * split, so that pieces form across the border of template and message as if they had never been there.
 */
export interface Markers {
  /** Stands inside the text of a special token and breaks it. */
  cut: string;
  /** Stands before a special token of one character, which cannot be broken. */
  escape: string;
}

/** How to read a text. */
export interface EncodeHow {
  parseSpecial: boolean;
  /** Which of the model's own tokens to put around the text. */
  around: "none" | "start" | "both";
  /** The text is a rendered chat with these markers in it. */
  markers: Markers | null;
}

/** Encodes texts with one tokenizer. */
export class Encoder {
  readonly #spec: TokenizerSpec;
  readonly #pieces: PieceEncoder;
  readonly #original: AddedTokenFinder;
  readonly #normalized: AddedTokenFinder;
  readonly #normalize: (text: string) => string;
  readonly #split: ReturnType<typeof compileSplits>;

  constructor(spec: TokenizerSpec) {
    this.#spec = spec;
    this.#pieces = new PieceEncoder(spec);
    this.#normalize = compileNormalizers(spec.normalizers);
    this.#split = compileSplits(spec.splits);
    this.#original = new AddedTokenFinder(spec.added.filter((token) => !token.normalized));
    this.#normalized = new AddedTokenFinder(
      spec.added.filter((token) => token.normalized)
        .map((token) => ({ ...token, content: this.#normalize(token.content) })),
    );
  }

  encode(text: string, how: EncodeHow): Int32Array<ArrayBuffer> {
    const ids = new IdBuffer();
    const search = { special: how.parseSpecial, escape: how.markers?.escape ?? null };
    const body = text.toWellFormed();
    this.#between(body, this.#original.find(body, search), ids, (part, first) => {
      const changed = this.#normalize(part);
      this.#between(changed, this.#normalized.find(changed, search), ids, (plain, isFirst) => {
        this.#plain(plain, first && isFirst, how.markers, ids);
      });
    });
    return how.around === "none" ? ids.take() : this.#surround(ids, how);
  }

  /** Hands on what lies between the matches, and adds the tokens of the matches. */
  #between(
    text: string,
    matches: AddedMatch[],
    ids: IdBuffer,
    sink: (part: string, first: boolean) => void,
  ): void {
    let at = 0;
    for (const { start, end, id } of matches) {
      if (start > at) sink(text.slice(at, start), at === 0);
      ids.push(id);
      at = end;
    }
    if (at < text.length) sink(text.slice(at), at === 0);
  }

  #plain(text: string, first: boolean, markers: Markers | null, ids: IdBuffer): void {
    const unmarked = markers
      ? text.replaceAll(markers.cut, "").replaceAll(markers.escape, "")
      : text;
    this.#split(unmarked, first, (piece) => this.#pieces.encode(piece, ids));
  }

  /** A text that was given with its BOS gets no second one. */
  #surround(ids: IdBuffer, how: EncodeHow): Int32Array<ArrayBuffer> {
    const { prefix, suffix } = this.#spec;
    const there = how.parseSpecial && prefix.length > 0 && ids.first === prefix[0];
    const around = new IdBuffer();
    if (!there) around.append(Int32Array.from(prefix));
    around.append(ids.take());
    if (how.around === "both") around.append(Int32Array.from(suffix));
    return around.take();
  }
}
