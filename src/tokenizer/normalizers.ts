// SPDX-License-Identifier: Apache-2.0
/** Changes of a text before it is split into pieces. */
import type { NormalizerStep, Pattern } from "./spec.ts";

type Step = (text: string) => string;

function compile(step: NormalizerStep): Step {
  switch (step.kind) {
    case "unicode":
      return (text) => text.normalize(step.form);
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
