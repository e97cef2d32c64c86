// SPDX-License-Identifier: Apache-2.0
/** Keeps the end of the page in view while an answer comes, unless the reader has scrolled up. */

/** So near the end counts as at the end. */
const NEAR = 40;

let following = true;
let lastTop = 0;

document.addEventListener("scroll", () => {
  const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
  if (scrollTop < lastTop) following = false;
  if (scrollHeight - scrollTop - clientHeight < NEAR) following = true;
  lastTop = scrollTop;
});

/** Something was added to the page. */
export function follow(): void {
  if (following) scrollTo({ top: document.documentElement.scrollHeight });
}

/** The reader asked something: wherever they were, the answer is what they want to see. */
export function followAgain(): void {
  following = true;
  follow();
}
