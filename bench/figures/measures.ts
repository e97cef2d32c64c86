// SPDX-License-Identifier: Apache-2.0
/** Figures of attention outputs, scores and keys, in plain double precision. */

/** |a − b| / |b| of each head. */
export function headErrors(a: Float32Array, b: Float32Array, headDim: number): number[] {
  return Array.from({ length: b.length / headDim }, (_, head) => {
    let [difference, size] = [0, 0];
    for (let i = head * headDim; i < (head + 1) * headDim; ++i) {
      difference += (a[i]! - b[i]!) ** 2;
      size += b[i]! ** 2;
    }
    return Math.sqrt(difference / size);
  });
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The value that a share of the values does not pass. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** exp(score − greatest), and NaN scores as 0. */
function weightsOf(scores: Float32Array): Float64Array {
  let most = -Infinity;
  for (const score of scores) if (score > most) most = score;
  return Float64Array.from(scores, (score) => Number.isNaN(score) ? 0 : Math.exp(score - most));
}

/** Share of the attention of one head that its k best keys have, for shares k / n of the keys. */
export function coverage(scores: Float32Array, shares: readonly number[]): number[] {
  const weights = weightsOf(scores).sort().reverse();
  const sums = new Float64Array(weights.length + 1);
  weights.forEach((weight, i) => sums[i + 1] = sums[i]! + weight);
  return shares.map((share) => sums[Math.round(share * weights.length)]! / sums[weights.length]!);
}

/** Where the keys of one head that are chosen from begin and end. */
export interface Choosable {
  begin: number;
  end: number;
}

/**
 * Theorem 3.2 for one head whose other keys are exact: with B independent draws from the true attention over the
 * choosable keys the trace of the output's covariance is (Z' / Z)² (E|v|² − |E v|²) / B, E over these draws, Z' / Z
 * their share of the attention. Returns it for B = 1, relative to |o|².
 */
export function drawVariance(
  scores: Float32Array,
  { begin, end }: Choosable,
  value: (token: number) => Float32Array,
): number {
  const weights = weightsOf(scores);
  const dims = value(0).length;
  const [all, chosen] = [new Float64Array(dims), new Float64Array(dims)];
  let [sum, chosenSum, squares] = [0, 0, 0];
  for (let token = 0; token < weights.length; ++token) {
    const weight = weights[token]!;
    const row = value(token);
    const isChosen = token >= begin && token < end;
    sum += weight;
    if (isChosen) chosenSum += weight;
    for (let i = 0; i < dims; ++i) {
      all[i]! += weight * row[i]!;
      if (!isChosen) continue;
      chosen[i]! += weight * row[i]!;
      squares += weight * row[i]! ** 2;
    }
  }
  const norm = (vector: Float64Array) => vector.reduce((total, x) => total + x * x, 0);
  const variance = squares / chosenSum - norm(chosen) / chosenSum ** 2;
  return (chosenSum / sum) ** 2 * variance / (norm(all) / sum ** 2);
}

export function dot(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; ++i) sum += a[i]! * b[i]!;
  return sum;
}

export function cosine(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** Pearson's correlation. */
export function correlation(xs: readonly number[], ys: readonly number[]): number {
  const [mx, my] = [mean(xs), mean(ys)];
  const centred = (values: readonly number[], m: number) => Float64Array.from(values, (v) => v - m);
  return cosine(centred(xs, mx), centred(ys, my));
}

/** How the keys of one layer and KV head lie. */
export interface KeyGeometry {
  /** Cosine of the first key with the mean of all others. */
  sinkToMean: number;
  /** Mean cosine of keys with their mean. */
  keysToMean: number;
  /** The same for keys less the mean of their block of 128 and this mean: how much centring takes away. */
  centredToMean: number;
  /** Mean cosine of queries with the first key. */
  queriesToSink: number;
  /** Mean length of keys less their block's mean, of their own. */
  residual: number;
}

/** Geometry of keys [tokens][dims] and of the queries of their group. */
export function keyGeometry(
  keys: readonly Float32Array[],
  queries: readonly Float32Array[],
  block = 128,
): KeyGeometry {
  const dims = keys[0]!.length;
  const meanOf = (rows: readonly Float32Array[]) => {
    const sum = new Float64Array(dims);
    for (const row of rows) for (let i = 0; i < dims; ++i) sum[i]! += row[i]! / rows.length;
    return sum;
  };
  const others = keys.slice(1);
  const centre = meanOf(others);
  const [cosines, centred, residuals]: number[][] = [[], [], []];
  for (let at = 0; at < others.length; at += block) {
    const rows = others.slice(at, at + block);
    const own = meanOf(rows);
    for (const row of rows) {
      const rest = Float64Array.from(row, (x, i) => x - own[i]!);
      cosines!.push(cosine(row, centre));
      if (dot(rest, rest) > 0) centred!.push(cosine(rest, centre));
      residuals!.push(Math.sqrt(dot(rest, rest) / dot(row, row)));
    }
  }
  return {
    sinkToMean: cosine(keys[0]!, centre),
    keysToMean: mean(cosines!),
    centredToMean: mean(centred!),
    queriesToSink: mean(queries.map((query) => cosine(query, keys[0]!))),
    residual: mean(residuals!),
  };
}
