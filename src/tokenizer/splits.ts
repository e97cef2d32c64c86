// SPDX-License-Identifier: Apache-2.0
/** Cuts a text into pieces that are tokenized independently of each other ("pre-tokenization"). */
import type { Pattern, SplitStep } from "./spec.ts";

/** Takes a piece; `first`: it stands at the very start of the text. */
export type PieceSink = (piece: string, first: boolean) => void;

type Step = (text: string, first: boolean, sink: PieceSink) => void;
type RangeSink = (start: number, end: number, isMatch: boolean) => void;
type Finder = (text: string, sink: RangeSink) => void;

/** A run that the expression engine cannot hold is cut into parts of this many units. */
const RUN_LIMIT = 1 << 20;

/** The steps as one function. */
export function compileSplits(steps: readonly SplitStep[]): Step {
  return steps.map(compile).reduceRight<Step>(
    (rest, step) => (text, first, sink) =>
      step(text, first, (piece, isFirst) => rest(piece, isFirst, sink)),
    (text, first, sink) => {
      if (text !== "") sink(text, first);
    },
  );
}

function compile(step: SplitStep): Step {
  switch (step.kind) {
    case "prefix_space":
      return (text, first, sink) => sink(text.startsWith(" ") ? text : " " + text, first);
    case "metaspace":
      return compileMetaspace(step);
    case "split":
      return compileSplit(step);
  }
}

function compileMetaspace(step: SplitStep & { kind: "metaspace" }): Step {
  const words = compileSplit({
    kind: "split",
    pattern: { text: step.replacement },
    behavior: "merged_with_next",
    invert: false,
  });
  return (text, first, sink) => {
    let escaped = text.replaceAll(" ", () => step.replacement);
    const wanted = step.prepend === "always" || (step.prepend === "first" && first);
    if (wanted && !escaped.startsWith(step.replacement)) escaped = step.replacement + escaped;
    if (step.split) words(escaped, first, sink);
    else sink(escaped, first);
  };
}

function compileSplit(step: SplitStep & { kind: "split" }): Step {
  const find = "text" in step.pattern
    ? literalFinder(step.pattern.text)
    : expressionFinder(step.pattern);
  const wanted = !step.invert;
  if (step.behavior === "isolated") {
    return (text, first, sink) =>
      find(text, (start, end) => {
        if (end > start) sink(text.slice(start, end), first && start === 0);
      });
  }
  return (text, first, sink) => {
    const ranges: [number, number][] = [];
    const join = joiners[step.behavior as keyof typeof joiners];
    const state = { previous: false, any: false };
    find(text, (start, end, found) => join(ranges, start, end, found === wanted, state));
    for (const [start, end] of ranges) {
      if (end > start) sink(text.slice(start, end), first && start === 0);
    }
  };
}

type Join = (
  ranges: [number, number][],
  start: number,
  end: number,
  isMatch: boolean,
  state: { previous: boolean; any: boolean },
) => void;

/** `previous`: whether the range before was a match; `any`: whether there was one. */
const joiners = {
  removed: (ranges, start, end, isMatch) => {
    if (!isMatch) ranges.push([start, end]);
  },
  contiguous: (ranges, start, end, isMatch, state) => {
    if (state.any && state.previous === isMatch) ranges.at(-1)![1] = end;
    else ranges.push([start, end]);
    state.previous = isMatch;
    state.any = true;
  },
  merged_with_previous: (ranges, start, end, isMatch, state) => {
    if (isMatch && state.any && !state.previous) ranges.at(-1)![1] = end;
    else ranges.push([start, end]);
    state.previous = isMatch;
    state.any = true;
  },
  // A match takes what follows it, unless that is a match itself.
  merged_with_next: (ranges, start, end, isMatch, state) => {
    if (!isMatch && state.previous) ranges.at(-1)![1] = end;
    else ranges.push([start, end]);
    state.previous = isMatch;
  },
} satisfies Record<string, Join>;

function literalFinder(literal: string): Finder {
  return (text, sink) => {
    let from = 0;
    for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, from)) {
      if (at > from) sink(from, at, false);
      from = at + literal.length;
      sink(at, from, true);
    }
    if (from < text.length) sink(from, text.length, false);
  };
}

/**
 * All of a text as matches and gaps. Most expressions match wherever the last match ended: trying there
 * first (sticky) needs no match object.
 */
function expressionFinder(pattern: Pattern & { regex: string }): Finder {
  const here = new RegExp(pattern.regex, "vy");
  const anywhere = new RegExp(pattern.regex, "vg");
  const findFrom = (text: string, at: number): [number, number] | null => {
    here.lastIndex = at;
    if (here.test(text)) return [at, here.lastIndex];
    anywhere.lastIndex = at;
    const match = anywhere.exec(text);
    return match && [match.index, match.index + match[0].length];
  };
  return (text, sink) => {
    let gap = 0;
    let at = 0;
    while (at < text.length) {
      const found = bounded(() => findFrom(text, at), text, at);
      if (!found) break;
      const [start, end] = found;
      if (start > gap) sink(gap, start, false);
      sink(start, end, true);
      gap = end;
      at = end > start ? end : end + (text.codePointAt(end)! > 0xffff ? 2 : 1);
    }
    if (gap < text.length) sink(gap, text.length, false);
  };
}

/** The engine's stack overflows on a run of many million characters: such a run is cut. */
function bounded(
  find: () => [number, number] | null,
  text: string,
  at: number,
): [number, number] | null {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    let end = Math.min(at + RUN_LIMIT, text.length);
    const unit = text.charCodeAt(end - 1);
    if (unit >= 0xd800 && unit < 0xdc00 && end < text.length) end++;
    return [at, end];
  }
}
