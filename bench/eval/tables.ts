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

/** The kind of a strategy by its name: "sketch1@0.02" is "sketch1", "lsh:10x150" is "lsh". */
export function kindOf(strategy: string): string {
  return /^[a-z]+\d?/.exec(strategy)?.[0] ?? strategy;
}
