// SPDX-License-Identifier: Apache-2.0
/** Changes of a text before it is split into pieces. */
import type { NormalizerStep, Pattern } from "./spec.ts";

type Step = (text: string) => string;

function compile(step: NormalizerStep): Step {
  switch (step.kind) {
    case "unicode":
      return (text) => normalizeBounded(text, step.form);
    case "lowercase":
      return (text) => text.toLowerCase();
    case "prepend":
      return (text) => text === "" ? text : step.text + text;
    case "replace":
      return replacer(step.pattern, step.content);
    case "strip":
      return (text) => strip(text, step.left, step.right);
  }
}

/** Unicode's stream-safe texts have 30 marks in a row at most. */
const MARKS = /\p{M}{256}/gu;

/** Putting marks in order costs the square of how many follow each other: longer runs are cut. */
function normalizeBounded(text: string, form: string): string {
  const parts: string[] = [];
  let from = 0;
  for (const match of text.matchAll(MARKS)) {
    const to = match.index + match[0].length;
    parts.push(text.slice(from, to).normalize(form));
    from = to;
  }
  parts.push(text.slice(from).normalize(form));
  return parts.join("");
}

function replacer(pattern: Pattern, content: string): Step {
  const search = "text" in pattern ? pattern.text : new RegExp(pattern.regex, "gv");
  return (text) => text.replaceAll(search, () => content);
}

const SPACE = /\p{White_Space}/u;

function strip(text: string, left: boolean, right: boolean): string {
  let from = 0;
  let to = text.length;
  while (left && from < to && SPACE.test(text[from]!)) from++;
  while (right && to > from && SPACE.test(text[to - 1]!)) to--;
  return text.slice(from, to);
}

/** The steps as one function. */
export function compileNormalizers(steps: readonly NormalizerStep[]): Step {
  const compiled = steps.map(compile);
  return (text) => compiled.reduce((changed, step) => step(changed), text);
}
