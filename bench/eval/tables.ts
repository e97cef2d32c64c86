// SPDX-License-Identifier: Apache-2.0
/** What the Markdown pages and plots of evaluations share. */

export function percent(value: number | null): string {
  return value === null ? "–" : `${(100 * value).toFixed(2)} %`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
}

/** A sentence about strategies that had nothing to sample, so that their error of 0 is no merit; null: none. */
export function exactNote(
  scores: readonly { strategy: string; chosenRows: number | null }[],
): string | null {
  const names = scores.filter(({ strategy, chosenRows }) =>
    strategy !== "full" && chosenRows === null
  ).map(({ strategy }) => strategy);
  if (names.length === 0) return null;
  return `Attended exactly, since there was nothing to sample: ${names.join(", ")}. ` +
    "(`lsh` samples from 2,048 keys on, the others where there are more than --least-rows; exact layers never.)";
}

/** The kind of a strategy by its name: "sketch1@0.02" is "sketch1", "lsh:10x150" is "lsh". */
export function kindOf(strategy: string): string {
  return /^[a-z]+\d?/.exec(strategy)?.[0] ?? strategy;
}
