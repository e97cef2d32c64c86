// SPDX-License-Identifier: Apache-2.0
/** What an answer came to, in figures for people. */
import type { Usage } from "./api.ts";

/** Milliseconds from the question to the first and to the last text of the answer. */
export interface Timing {
  firstMs: number;
  lastMs: number;
}

export interface Figure {
  value: string;
  label: string;
  /** 0 to 1, shown as a gauge. */
  share?: number;
  kind?: "cached";
}

/** What arrives within less came together, and says nothing of the time between. */
const LEAST_MS = 30;

/** A whole number with separators. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** A share with two significant digits. */
export function percent(share: number): string {
  return `${Number((100 * share).toPrecision(2))} %`;
}

function seconds(ms: number): string {
  return ms < 995 ? `${Math.round(ms)} ms` : `${Number((ms / 1000).toPrecision(3))} s`;
}

/** Tokens a second after the first token; null where there are too few to tell. */
export function speed(usage: Usage, { firstMs, lastMs }: Timing): number | null {
  const tokens = usage.completion_tokens - 1;
  const ms = lastMs - firstMs;
  return tokens > 0 && ms >= LEAST_MS ? tokens / ms * 1000 : null;
}

/** Share of the rows that sampling read; null where everything was read. */
export function rowsShare({ sounder }: Usage): number | null {
  const { rows_read: read, rows_total: total } = sounder;
  return read === null || total === null || total === 0 ? null : read / total;
}

function errorFigure(error: number | null, share: number | null): Figure {
  if (error !== null) return { value: `± ${percent(error)}`, label: "standard error" };
  return share === null
    ? { value: "exact", label: "nothing was sampled" }
    : { value: "–", label: "standard error: nothing was left to chance" };
}

export function figures(usage: Usage, timing: Timing): Figure[] {
  const { prompt_tokens: prompt, completion_tokens: generated, sounder } = usage;
  const rate = speed(usage, timing);
  const share = rowsShare(usage);
  const rows: Figure = share === null
    ? { value: "100 %", label: "rows read, all of them", share: 1 }
    : {
      value: percent(share),
      label: `rows read, ${whole(sounder.rows_read! / generated)} of ` +
        `${whole(sounder.rows_total! / generated)}`,
      share,
    };
  const error = sounder.standard_error;
  return [
    { value: seconds(timing.firstMs), label: "first token" },
    { value: rate === null ? "–" : `${Number(rate.toPrecision(3))}`, label: "tokens a second" },
    {
      value: whole(sounder.cached_tokens),
      label: `tokens cached of ${whole(prompt)}`,
      share: prompt === 0 ? 0 : sounder.cached_tokens / prompt,
      kind: "cached",
    },
    rows,
    errorFigure(error, share),
  ];
}

/** How a sampled answer compares with the exact one, as a sentence. */
export function verdict(
  full: { text: string; usage: Usage; timing: Timing },
  sampled: { text: string; usage: Usage; timing: Timing },
): string {
  const share = rowsShare(sampled.usage);
  const same = full.text.trim() === sampled.text.trim();
  const answers = same ? "Both answers are the same" : "The answers differ";
  if (share === null) return `${answers}: this prompt is too short to be sampled.`;
  const rates = [speed(full.usage, full.timing), speed(sampled.usage, sampled.timing)];
  const [before, after] = rates;
  const pace = before == null || after == null
    ? ""
    : `, at ${(after / before).toFixed(1)} × the speed`;
  return `${answers}; the second one read ${percent(share)} of the rows${pace}.`;
}
