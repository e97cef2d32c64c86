// SPDX-License-Identifier: Apache-2.0
/**
 * 95 % intervals of shares whose questions come in documents: questions of one document are alike, so they
 * count less than independent ones. Families: Wilson's interval at the effective number of questions. Means of
 * families and differences: resampled documents, family by family (questions, where there is one document).
 */

/** A figure with its 95 % interval. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

/** Values of the questions of one document. */
export type Cluster = readonly number[];

const Z = 1.959963984540054;
const RESAMPLES = 2000;

const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

export function meanOf(clusters: readonly Cluster[]): number {
  return sumOf(clusters.map(sumOf)) / sumOf(clusters.map(({ length }) => length));
}

/** Wilson's interval of a share of n, which need not be whole. */
export function wilson(share: number, n: number): Interval {
  const z2 = Z * Z;
  const centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const half = Z / (1 + z2 / n) * Math.sqrt(share * (1 - share) / n + z2 / (4 * n * n));
  return { value: share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * Questions that would say as much if all were independent: n / (1 + (m − 1) ρ), with ρ the correlation within
 * documents by the analysis of variance, from 0 to 1.
 */
export function effectiveCount(clusters: readonly Cluster[]): number {
  const n = sumOf(clusters.map(({ length }) => length));
  const k = clusters.length;
  const m = n / k;
  if (k < 2 || m <= 1 || n === k) return n;
  const all = meanOf(clusters);
  const between = sumOf(clusters.map((c) => c.length * (sumOf(c) / c.length - all) ** 2)) / (k - 1);
  const within = sumOf(clusters.map((c) => sumOf(c.map((x) => (x - sumOf(c) / c.length) ** 2)))) /
    (n - k);
  const total = between + (m - 1) * within;
  const correlation = total === 0 ? 0 : Math.min(1, Math.max(0, (between - within) / total));
  return n / (1 + (m - 1) * correlation);
}

/** The share of one family. */
export function shareInterval(clusters: readonly Cluster[]): Interval {
  return wilson(meanOf(clusters), effectiveCount(clusters));
}

/** A generator of 32-bit numbers (xorshift), so that tables are the same each time. */
function generator(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** The mean over families of their means, with the interval of resampled documents. */
export function meanInterval(families: readonly (readonly Cluster[])[], seed = 1): Interval {
  const value = sumOf(families.map(meanOf)) / families.length;
  const next = generator(seed);
  const units = families.map((clusters) =>
    clusters.length > 1 ? clusters : (clusters[0] ?? []).map((value) => [value])
  );
  const resampled = Array.from({ length: RESAMPLES }, () => {
    const means = units.map((clusters) =>
      meanOf(clusters.map(() => clusters[next() % clusters.length]!))
    );
    return sumOf(means) / families.length;
  }).sort((a, b) => a - b);
  const at = (share: number) => resampled[Math.round(share * (RESAMPLES - 1))]!;
  return { value, low: at(0.025), high: at(0.975) };
}
