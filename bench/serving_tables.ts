// SPDX-License-Identifier: Apache-2.0
/** What `serving_bench.ts` measured, as Markdown. */
import { type Speed, speedOf } from "./measure.ts";

/** Requests that stream at once; a figure for each repeat. */
export interface StreamFigures {
  clients: number;
  /** Milliseconds: medians over a burst's requests. */
  firstToken: number[];
  /** Milliseconds between two tokens, over a burst. */
  betweenP50: number[];
  betweenP99: number[];
  /** Generated tokens a second of the whole burst. */
  perSecond: number[];
}

/** Milliseconds to the first token of requests about a long document; a figure for each repeat. */
export interface PrefixFigures {
  cold: number[];
  repeat: number[];
  question: number[];
}

export interface ServerFigures {
  streams: StreamFigures[];
  prefix: PrefixFigures;
}

/** Ours first; null: llama.cpp does not run here. */
export interface Both {
  ours: ServerFigures;
  peer: ServerFigures | null;
}

export function medianOf(figures: readonly number[]): number {
  return speedOf(0, figures).median;
}

function cell(figures: readonly number[] | undefined): string {
  if (figures === undefined || figures.length === 0) return "–";
  const { median, least, most }: Speed = speedOf(0, figures);
  const [m, l, h] = [median, least, most].map((x) => x.toFixed(median < 100 ? 1 : 0));
  return `${m} (${l}–${h})`;
}

export function streamTable({ ours, peer }: Both): string {
  const rows = ours.streams.flatMap((our, i) =>
    [["Sounder", our] as const, ["llama.cpp", peer?.streams[i]] as const]
      .map(([name, f]) =>
        `| ${our.clients} | ${name} | ${cell(f?.firstToken)} | ${cell(f?.betweenP50)} | ` +
        `${cell(f?.betweenP99)} | ${cell(f?.perSecond)} |`
      )
  );
  return [
    "| clients | server | first token, ms | between tokens p50, ms | p99, ms | tok/s in all |",
    "|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}

export function prefixTable({ ours, peer }: Both, tokens: number): string {
  const row = (name: string, f: PrefixFigures | undefined) =>
    `| ${name} | ${cell(f?.cold)} | ${cell(f?.repeat)} | ${cell(f?.question)} |`;
  return [
    `| first token, ms | prompt of ${tokens} tokens | the same again | another last question |`,
    "|---|---|---|---|",
    row("Sounder", ours.prefix),
    row("llama.cpp", peer?.prefix),
  ].join("\n");
}

/** What issue and README ask for, beside what was seen. */
export function bars({ ours, peer }: Both): { what: string; seen: number; good: boolean }[] {
  const question = medianOf(ours.prefix.question);
  const own = {
    what: "another last question, ms (< 300)",
    seen: question,
    good: question < 300,
  };
  if (peer === null) return [own];
  const cold = medianOf(ours.prefix.cold) / medianOf(peer.prefix.cold);
  const eight = (of: ServerFigures) => of.streams.find(({ clients }) => clients === 8)?.perSecond;
  const [our, its] = [eight(ours), eight(peer)];
  const list = [
    { what: "first token of the long prompt, share of llama.cpp's (≤ 0.5)", seen: cold },
    ...(our && its
      ? [{
        what: "8 streams, times llama.cpp's tok/s (≥ 1.5)",
        seen: medianOf(our) / medianOf(its),
      }]
      : []),
  ];
  return [
    own,
    ...list.map((bar, i) => ({ ...bar, good: i === 0 ? bar.seen <= 0.5 : bar.seen >= 1.5 })),
  ];
}
