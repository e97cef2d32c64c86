// SPDX-License-Identifier: Apache-2.0
/** Speed of one engine: prefill from an empty context, and decode at depths. */
import { type Engine, GREEDY, LAST_SAMPLED, type StepSequence } from "../src/engine/engine.ts";

const DECODED = 24;

/** Tokens a second, and how far repeats lay apart. */
export interface Speed {
  tokens: number;
  median: number;
  least: number;
  most: number;
}

/** Median and range of some figures. */
export function speedOf(tokens: number, figures: readonly number[]): Speed {
  const sorted = figures.toSorted((a, b) => a - b);
  return {
    tokens,
    median: sorted[Math.floor(sorted.length / 2)]!,
    least: sorted[0]!,
    most: sorted.at(-1)!,
  };
}

const SEQUENCE = {
  sampling: null,
  choice: 0,
  promptTokens: 1 << 30,
  alternatives: 0,
};

/** A prompt that repeats nothing soon and stays under every vocabulary. */
function promptTokens(from: number, count: number, vocabulary: number): number[] {
  return Array.from({ length: count }, (_, i) => 100 + ((from + i) * 7919) % (vocabulary - 200));
}

/**
 * Appends tokens up to a length, and returns the milliseconds that it took.
 * @param how what the steps ask for otherwise than a prompt without end that is attended exactly
 */
export async function extend(
  engine: Engine,
  context: number,
  length: number,
  how: Pick<StepSequence, "attention"> & Partial<Pick<StepSequence, "promptTokens">> = {},
): Promise<number> {
  const start = performance.now();
  for (let at = engine.contextLength(context); at < length;) {
    const count = Math.min(engine.limits.maxStepTokens, length - at);
    const tokens = promptTokens(at, count, engine.limits.vocabulary);
    const { sequences } = await engine.step([{ ...SEQUENCE, ...how, context, tokens }]);
    if (sequences[0]!.failure !== null) throw new Error(`prefill: ${sequences[0]!.failure}`);
    at += count;
  }
  return performance.now() - start;
}

async function decode(engine: Engine, context: number): Promise<number> {
  const step = { ...SEQUENCE, context, sampling: GREEDY };
  await engine.step([{ ...step, tokens: [7] }]);
  const start = performance.now();
  for (let i = 0; i < DECODED; ++i) await engine.step([{ ...step, tokens: [LAST_SAMPLED] }]);
  return 1000 * DECODED / (performance.now() - start);
}

/** Prefill and decode speed at each of some ascending lengths. */
export async function measure(
  engine: Engine,
  lengths: readonly number[],
  repeats: number,
): Promise<{ prefill: Speed[]; decode: Speed[] }> {
  const prefill = lengths.map(() => [] as number[]);
  const decoded = lengths.map(() => [] as number[]);
  for (let repeat = 0; repeat < repeats; ++repeat) {
    const context = engine.createContext();
    let total = 0;
    for (const [i, length] of lengths.entries()) {
      total += await extend(engine, context, length);
      prefill[i]!.push(1000 * length / total);
      decoded[i]!.push(await decode(engine, context));
      engine.truncateContext(context, length);
    }
    engine.freeContext(context);
  }
  return {
    prefill: lengths.map((length, i) => speedOf(length, prefill[i]!)),
    decode: lengths.map((length, i) => speedOf(length, decoded[i]!)),
  };
}
