// SPDX-License-Identifier: Apache-2.0
/** What the replies say about each strategy: accuracy by family, differences to full attention, and cost. */
import { type Cluster, type Interval, meanInterval, shareInterval } from "./intervals.ts";
import type { Reply, Setup } from "./run.ts";

export interface FamilyScore extends Interval {
  family: string;
  questions: number;
  documents: number;
}

/** One strategy in one set-up. */
export interface Score {
  setup: Setup;
  strategy: string;
  questions: number;
  families: FamilyScore[];
  /** Exact match, mean of families. */
  exact: Interval;
  recall: Interval;
  /** Exact match less that of full attention on the same questions; null for itself or without it. */
  difference: Interval | null;
  keysShare: number;
  chosenKeys: number | null;
  chosenRows: number | null;
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Values of questions by family and document, in order of appearance. */
function clustersOf(
  replies: readonly Reply[],
  value: (reply: Reply) => number,
): Map<string, Cluster[]> {
  const families = new Map<string, Map<string, number[]>>();
  for (const reply of replies) {
    const documents = families.get(reply.family) ?? new Map<string, number[]>();
    families.set(reply.family, documents);
    documents.set(reply.id, [...documents.get(reply.id) ?? [], value(reply)]);
  }
  return new Map([...families].map(([family, documents]) => [family, [...documents.values()]]));
}

function overFamilies(replies: readonly Reply[], value: (reply: Reply) => number): Interval {
  return meanInterval([...clustersOf(replies, value).values()]);
}

const questionOf = ({ id, question, setup }: Reply) => `${setup} ${id} ${question}`;

function scoreOf(replies: readonly Reply[], full: ReadonlyMap<string, Reply>): Score {
  const [{ setup, strategy }] = replies as [Reply, ...Reply[]];
  const exact = ({ exact }: Reply) => exact ? 1 : 0;
  const families = [...clustersOf(replies, exact)].map(([family, clusters]) => ({
    family,
    documents: clusters.length,
    questions: clusters.flat().length,
    ...shareInterval(clusters),
  }));
  const paired = strategy !== "full" && replies.every((reply) => full.has(questionOf(reply)));
  const figures = (value: (reply: Reply) => number | null) =>
    mean(replies.map(value).filter((x) => x !== null));
  return {
    setup,
    strategy,
    questions: replies.length,
    families,
    exact: overFamilies(replies, exact),
    recall: overFamilies(replies, ({ recall }) => recall),
    difference: paired
      ? overFamilies(replies, (reply) => exact(reply) - exact(full.get(questionOf(reply))!))
      : null,
    keysShare: figures(({ keysShare }) => keysShare) ?? 1,
    chosenKeys: figures(({ chosenKeys }) => chosenKeys),
    chosenRows: figures(({ chosenRows }) => chosenRows),
  };
}

/** Scores of every set-up and strategy, in order of appearance within each set-up. */
export function summarise(replies: readonly Reply[]): Score[] {
  const full = new Map(
    replies.filter(({ strategy }) => strategy === "full").map((r) => [questionOf(r), r]),
  );
  const groups = new Map<string, Reply[]>();
  for (const reply of replies) {
    const key = `${reply.setup} ${reply.strategy}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [reply]);
    else group.push(reply);
  }
  return [...groups.values()].map((group) => scoreOf(group, full))
    .toSorted((a, b) => a.setup.localeCompare(b.setup));
}
