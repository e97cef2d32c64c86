// SPDX-License-Identifier: Apache-2.0
/** Runs the trials of a setting, an engine each, and keeps what they gave. */
import { NativeEngine } from "../../ffi/engine.ts";
import type { HostAttention, IndexSettings } from "../../src/engine/settings.ts";
import type { SamplingParams } from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";
import { formatBytes } from "../../src/model/memory.ts";
import type { ModelSource } from "../../src/model/model.ts";
import { type StageTraffic, stageTraffic } from "./arithmetic.ts";
import type { Memory } from "../device.ts";
import { type Fit, fitTrial, GROWTH } from "./fit.ts";
import { decodeAll, type DecodePoint, type PrefillPoint, prefillTo } from "./measure.ts";
import { BATCHES, type Setting, type Trial } from "./settings.ts";

/** A point with what its trial was. */
export interface Point extends DecodePoint {
  where: string;
  table: Trial["table"];
  hostLayers: number;
  hostAttention: HostAttention;
  /** Bytes that a step must move, and which of its stages for. */
  stageTraffic: StageTraffic;
}

export interface TimedPrefill extends PrefillPoint {
  where: string;
  /** The strategy whose index was made; null: none. */
  index: string | null;
}

export interface SettingResult {
  setting: Setting;
  points: Point[];
  prefill: TimedPrefill[];
  /** Sentences about engines: what they took, and why some did not run. */
  notes: string[];
}

export interface RunOptions {
  device: number;
  threads: number;
  /** How tokens are chosen (default: greedily). */
  sampling?: SamplingParams;
  /** What the indexes of all engines have in common. */
  common: Partial<IndexSettings>;
  /** What may be used now. */
  free: () => Memory;
  /** performance.now() at which no further engine is opened. */
  deadline: number;
  show: (text: string) => void;
}

function noteOf(trial: Trial, { contexts, hostLayers, memory }: Fit, opened: number): string {
  const each = contexts === 1 ? "one context" : `${contexts} contexts`;
  const host = hostLayers === 0 ? "" : `, KV of ${hostLayers} layers in host memory`;
  return `${trial.where}: ${each}${host}; ${formatBytes(memory.vram)} of the GPU's memory and ` +
    `${formatBytes(memory.host)} of the host's planned, ready in ${(opened / 1000).toFixed(1)} s.`;
}

async function measureTrial(
  engine: NativeEngine,
  trial: Trial,
  fit: Fit,
  source: ModelSource,
  result: SettingResult,
  { show, sampling }: Pick<RunOptions, "show" | "sampling">,
): Promise<void> {
  const { hostLayers } = fit;
  const { where, table, hostAttention, strategies } = trial;
  const { index, context: longest } = fit.settings;
  if (trial.prefill.length > 0) {
    const strategy = strategies.find(({ params }) => params.strategy !== "full");
    const kind = strategy?.params.strategy ?? null;
    for (const point of await prefillTo(engine, trial.prefill, strategy)) {
      result.prefill.push({ ...point, where, index: kind });
      show(`prefill of ${point.tokens} tokens: ${point.seconds.toFixed(2)} s`);
    }
  }
  for (const length of trial.contexts) {
    const most = Math.min(trial.most, Math.floor(fit.contexts * longest / (length + GROWTH)));
    const points = await decodeAll(engine, {
      ...{ length, most, strategies, batches: BATCHES },
      ...(sampling && { sampling }),
    }, show);
    for (const point of points) {
      const shape = { ...point, hostLayers, hostAttention, index };
      const how = { where, table, hostLayers, hostAttention };
      result.points.push({ ...point, ...how, stageTraffic: stageTraffic(source.config, shape) });
    }
  }
}

/** One trial. What does not fit or cannot run leaves a sentence. Returns what the engine says of itself. */
export async function runTrial(
  trial: Trial,
  source: ModelSource,
  result: SettingResult,
  { free, show, deadline, sampling, ...machine }: RunOptions,
): Promise<string | null> {
  const name = `${result.setting.title}, ${trial.where}`;
  const skip = (why: string) => {
    result.notes.push(`Not run: ${trial.where}. ${why}`);
    show(`${name} is left out. ${why}`);
    return null;
  };
  if (performance.now() > deadline) return skip("The time that --minutes gives was over.");
  const fit = fitTrial(trial, result.setting, source.config, { ...machine, free: free() });
  if (typeof fit === "string") return skip(fit);
  show(`${name}: opening an engine for ${fit.contexts} …`);
  const start = performance.now();
  let engine: NativeEngine | undefined;
  try {
    engine = await NativeEngine.open(source, fit.settings);
    result.notes.push(noteOf(trial, fit, performance.now() - start));
    await measureTrial(engine, trial, fit, source, result, { show, ...(sampling && { sampling }) });
    return engine.info().text;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return skip(error.message);
  } finally {
    await engine?.close();
  }
}
