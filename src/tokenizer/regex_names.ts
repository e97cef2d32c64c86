// SPDX-License-Identifier: Apache-2.0
/** Oniguruma's short names in JavaScript's words (flag `v`). */

function table<T>(entries: Record<string, T>): ReadonlyMap<string, T> {
  return new Map(Object.entries(entries));
}

const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
/** Classes by the letter after the backslash. */
export const CLASSES = table({
  s: "\\p{White_Space}",
  S: "\\P{White_Space}",
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  w: `[${WORD}]`,
  W: `[^${WORD}]`,
  h: "[0-9a-fA-F]",
  H: "[^0-9a-fA-F]",
});
/** Places and line breaks, outside of classes. */
export const ANCHORS = table({
  A: "(?<![^])",
  z: "(?![^])",
  Z: "(?=\\n?(?![^]))",
  b: `(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`,
  B: `(?:(?<=[${WORD}])(?=[${WORD}])|(?<![${WORD}])(?![${WORD}]))`,
  R: "(?:\\r\\n|[\\n\\v\\f\\r\\u0085\\u2028\\u2029])",
});
/** Characters without a sign of their own. */
export const CONTROLS = table({ n: 10, t: 9, r: 13, f: 12, v: 11, a: 7, e: 27, 0: 0 });
/** Names in `[:name:]`, and in `\\p{name}` where JavaScript has none. */
export const POSIX = table({
  alpha: "\\p{Alphabetic}",
  digit: "\\p{Nd}",
  alnum: "[\\p{Alphabetic}\\p{Nd}]",
  space: "\\p{White_Space}",
  upper: "\\p{Uppercase}",
  lower: "\\p{Lowercase}",
  punct: "[\\p{P}\\u{24}\\u{2b}\\u{3c}\\u{3d}\\u{3e}\\u{5e}\\u{60}\\u{7c}\\u{7e}]",
  word: `[${WORD}]`,
  xdigit: "[0-9a-fA-F]",
  cntrl: "\\p{Cc}",
});
