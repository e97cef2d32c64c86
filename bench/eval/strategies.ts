// SPDX-License-Identifier: Apache-2.0
/** Strategies as a command line names them, and the indexes that they need. */
import {
  type AttentionParams,
  FULL_ATTENTION,
  type StepSequence,
} from "../../src/engine/engine.ts";
import { type IndexSettings, NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import { indexBytes, lshBytes, samplingLayers } from "../../src/model/index_memory.ts";
import type { ModelConfig } from "../../src/model/model.ts";

/** A strategy to evaluate. */
export interface StrategySpec {
  /** As it was given: the name in tables. */
  name: string;
  params: AttentionParams;
  /** The indexes that it needs, and nothing else. */
  needs: Partial<Pick<IndexSettings, "sketchBits" | "lsh" | "questPage" | "yardsticks">>;
}

export const DEFAULT_STRATEGIES =
  "full,sketch@0.02,sketch@0.01,sketch1@0.02,lsh:10x150,lsh:9x120,lsh:8x75,quest:16@0.04," +
  "topk@0.02,oracle@0.02";

function wrong(text: string, why: string): Failure {
  return new Failure(
    "invalid",
    `"${text}" is no strategy: ${why}. Write full, sketch@0.02 (sketch1, sketch4 for other bits), ` +
      "lsh:10x150, quest:16@0.04, topk@0.02 or oracle@0.02, with /beta=…, /collisions=… or /draws=… after it.",
  );
}

function numberIn(text: string, value: string, low: number, high: number): number {
  const number = Number(value);
  if (value === "" || !(number >= low && number <= high)) {
    throw wrong(text, `${value || "nothing"} is not from ${low} to ${high}`);
  }
  return number;
}

function wholeIn(text: string, value: string, low: number, high: number): number {
  const number = numberIn(text, value, low, high);
  if (!Number.isInteger(number)) throw wrong(text, `${value} is no whole number`);
  return number;
}

function withOptions(text: string, params: AttentionParams, options: string[]): AttentionParams {
  const changed = { ...params };
  for (const option of options) {
    const [name, value = ""] = option.split("=");
    if (name === "beta") changed.beta = numberIn(text, value, 0.01, 4);
    else if (name === "collisions") changed.collisions = wholeIn(text, value, 1, 3);
    else if (name === "draws") changed.draws = wholeIn(text, value, 0, 1e6);
    else throw wrong(text, `there is no option "${name}"`);
  }
  return changed;
}

/** Reads one strategy, such as `sketch1@0.02/beta=0.9`. @throws {Failure} `invalid` saying what is wrong. */
export function parseStrategy(text: string, seed = 1n): StrategySpec {
  const [head = "", ...options] = text.trim().split("/");
  const match = /^(full|sketch|lsh|quest|topk|oracle)([124]?)(?::(\d+)(?:x(\d+))?)?(?:@(.+))?$/
    .exec(head);
  if (match === null) throw wrong(text, "it is not known");
  const [, kind, bits, first, second, budget] = match;
  const strategy = kind as AttentionParams["strategy"];
  const hasBudget = strategy !== "full" && strategy !== "lsh";
  if (hasBudget !== (budget !== undefined)) {
    throw wrong(text, hasBudget ? "it needs a budget" : "it takes no budget");
  }
  // A budget of 1 is exact attention, with lsh too, whose tables decide how much is read.
  const share = hasBudget ? numberIn(text, budget!, 1e-6, 1) : strategy === "lsh" ? 0.02 : 1;
  const params = withOptions(text, { ...FULL_ATTENTION, strategy, budget: share, seed }, options);
  const needs = needsOf(text, strategy, { bits, first, second });
  if (needs.lsh && params.collisions > needs.lsh.tables) {
    throw wrong(text, `no key is found in ${params.collisions} of ${needs.lsh.tables} tables`);
  }
  return { name: text.trim(), params, needs };
}

function needsOf(
  text: string,
  strategy: AttentionParams["strategy"],
  { bits, first, second }: Record<"bits" | "first" | "second", string | undefined>,
): StrategySpec["needs"] {
  if (strategy !== "sketch" && bits !== "") throw wrong(text, "only sketch has bits");
  switch (strategy) {
    case "full":
      return {};
    case "sketch":
      return { sketchBits: Number(bits || 2) as 1 | 2 | 4 };
    case "lsh":
      if (second === undefined) throw wrong(text, "it needs bits and tables");
      return {
        lsh: { bits: numberIn(text, first!, 1, 15), tables: numberIn(text, second, 1, 1000) },
      };
    case "quest":
      if (!["16", "32", "64"].includes(first ?? "")) throw wrong(text, "pages have 16, 32 or 64");
      return { questPage: Number(first) as 16 | 32 | 64 };
    case "topk":
    case "oracle":
      return { yardsticks: true };
  }
}

/** Reads a list with commas between. Every name once. */
export function parseStrategies(list: string, seed = 1n): StrategySpec[] {
  const specs = list.split(",").map((text) => parseStrategy(text, seed));
  const names = specs.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new Failure("invalid", `The strategy ${twice} is listed twice.`);
  return specs;
}

/** Looks whether the model has layers that could sample, where a strategy is to. @throws {Failure} `invalid` */
export function checkSampling(
  { slidingWindow }: Pick<ModelConfig, "slidingWindow">,
  specs: readonly StrategySpec[],
): void {
  const sampling = specs.find(({ params }) => params.strategy !== "full");
  if (slidingWindow === 0 || sampling === undefined) return;
  throw new Failure(
    "invalid",
    `${sampling.name} has nothing to sample: this model attends within a window of ${slidingWindow} tokens, ` +
      "which is always read exactly. Take a model without one.",
  );
}

/** Bytes of index for a key of a layer and KV head, in a context of so many tokens. */
export function bytesOfIndex(config: ModelConfig, { needs }: StrategySpec, tokens: number): number {
  const index = { ...NO_INDEX, ...needs };
  const heads = samplingLayers(config, index) * config.kvHeads;
  return indexBytes(config, 2, index) / (128 * heads) +
    lshBytes(config, index, tokens, false) / (heads * tokens);
}

/** The same for each of these strategies, by name. */
export function indexBytesOf(
  config: ModelConfig,
  specs: readonly StrategySpec[],
  tokens: number,
): Record<string, number> {
  return Object.fromEntries(specs.map((spec) => [spec.name, bytesOfIndex(config, spec, tokens)]));
}

/**
 * The attention of steps before `from`: exact, but with `lsh` among the strategies they build its tables, which
 * forks then share.
 */
export function exactUntil(
  from: number,
  specs: readonly StrategySpec[],
): Pick<StepSequence, "attention"> {
  const lsh = specs.find(({ params }) => params.strategy === "lsh");
  return lsh === undefined ? {} : { attention: { ...lsh.params, from, verify: false } };
}

/** Strategies that one engine serves, and its indexes. */
export interface EngineGroup {
  index: IndexSettings;
  strategies: StrategySpec[];
}

function agrees(index: IndexSettings, needs: StrategySpec["needs"]): boolean {
  const { sketchBits = 0, lsh = null, questPage = 0 } = needs;
  return (sketchBits === 0 || index.sketchBits === 0 || index.sketchBits === sketchBits) &&
    (questPage === 0 || index.questPage === 0 || index.questPage === questPage) &&
    (lsh === null || index.lsh === null ||
      (index.lsh.bits === lsh.bits && index.lsh.tables === lsh.tables));
}

/**
 * As few engines as first-fit finds: an engine has one sketch, one set of tables and one page size.
 * `common` is what they share: dense layers, sink, window and seed.
 */
export function groupByEngine(
  specs: readonly StrategySpec[],
  common: Partial<IndexSettings> = {},
): EngineGroup[] {
  const groups: EngineGroup[] = [];
  for (const spec of specs) {
    const group = groups.find(({ index }) => agrees(index, spec.needs));
    const home = group ?? { index: { ...NO_INDEX, ...common }, strategies: [] };
    if (group === undefined) groups.push(home);
    home.index = { ...home.index, ...spec.needs };
    home.strategies.push(spec);
  }
  return groups;
}
