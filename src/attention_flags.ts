// SPDX-License-Identifier: Apache-2.0
/** The flags of the command line that decide how requests attend, and which indexes there are. */
import { lacking } from "./engine/attention.ts";
import { STRATEGIES, type Strategy } from "./engine/engine.ts";
import type { Centring, IndexSettings } from "./engine/settings.ts";

/** What the command line says about attention; the model's layers decide the rest. */
export interface AttentionOptions {
  index: Omit<IndexSettings, "lshTokens" | "denseLayers">;
  /** "published": those of the paper, which depend on the number of layers. */
  denseLayers: readonly number[] | "published";
  /** For requests that say nothing or auto. */
  strategy: Strategy | "auto";
  autoFrom: number;
  budget: number;
  beta: number;
  collisions: number;
  verify: number;
  /** Some flag asks for sampling, so that it must be said when the model can't. */
  asked: boolean;
}

/** The flags in the order of the help text. */
export const ATTENTION_FLAGS: Record<
  string,
  { value: string | null; help: string; multiple?: true }
> = {
  "attention": {
    value: "NAME",
    help: "for requests that don't say: auto, full, sketch, lsh (default: auto)",
  },
  "auto-from": {
    value: "TOKENS",
    help: "auto attends exactly up to so long a prompt (default: 8192)",
  },
  "budget": { value: "SHARE", help: "rows of a KV head that sampling reads (default: 0.02)" },
  "beta": { value: "NUMBER", help: "sketch: how far its estimates are trusted (default: 1)" },
  "index": {
    value: "NAME,...",
    help: "kept beside the KV: sketch[:1|2|4], lsh:KxL, none (default: sketch:2)",
    multiple: true,
  },
  "preset": {
    value: "NAME",
    help: "the paper's lsh: magicpig-10x150, magicpig-9x120 or magicpig-8x75",
  },
  "sink": { value: "TOKENS", help: "first tokens that are always read (default: 4)" },
  "window": { value: "TOKENS", help: "last tokens that are always read (default: 64)" },
  "least-rows": {
    value: "ROWS",
    help: "that a KV head reads, however small its budget (default: 256)",
  },
  "dense-layers": {
    value: "N,...|none",
    help: "layers that never sample, from 0 up (default: none; 0 with lsh)",
  },
  "sketch-centre": { value: "NAME", help: "block, context or off (default: block)" },
  "lsh-centre": { value: "NAME", help: "context or off (default: context)" },
  "collisions": {
    value: "N",
    help: "lsh: tables that must agree on a key, 1 to 3 (default: 2)",
  },
  "verify": {
    value: "SHARE",
    help: "share of sampled tokens to compute exactly too (default: 0)",
  },
  "experimental": {
    value: null,
    help: "allow the yardsticks topk, oracle and quest (--index quest:16)",
  },
};

/** How the parser reads flags; `invalid` throws. */
export interface FlagReader {
  /** null: not given. */
  text(name: string): string | null;
  /** Each time that it was given. */
  texts(name: string): readonly string[];
  integer(name: string, fallback: number, least: number, most: number): number;
  has(name: string): boolean;
  invalid(sentence: string): never;
}

/** Tables of the paper's settings by name. */
const PRESETS: Record<string, { bits: number; tables: number }> = {
  "magicpig-10x150": { bits: 10, tables: 150 },
  "magicpig-9x120": { bits: 9, tables: 120 },
  "magicpig-8x75": { bits: 8, tables: 75 },
};

const MOST_LAYERS = 1024;
const MOST_CONTEXT = 1 << 24;
const MOST_SINK = 1 << 16;

/** What the flags say. @throws {Failure} kind `invalid` with one sentence. */
export function readAttentionFlags(flags: FlagReader): AttentionOptions {
  const preset = readPreset(flags);
  const index = readIndexes(flags, preset);
  const strategy = readStrategy(flags, index, preset !== null);
  const dense = readDenseLayers(flags);
  const collisions = flags.integer("collisions", 2, 1, 3);
  if (index.lsh !== null && collisions > index.lsh.tables) {
    flags.invalid(
      `--index lsh with fewer tables than --collisions (${collisions}) would find no key: ` +
        "give it more tables, or fewer collisions",
    );
  }
  return {
    index: {
      ...index,
      sketchCentring: oneOf<Centring>(flags, "sketch-centre", ["block", "context", "off"]),
      lshCentring: oneOf<"context" | "off">(flags, "lsh-centre", ["context", "off"]),
      sink: flags.integer("sink", 4, 0, MOST_SINK),
      window: flags.integer("window", 64, 1, MOST_CONTEXT),
      leastRows: flags.integer("least-rows", 256, 1, MOST_CONTEXT),
      seed: 1,
    },
    // lsh was published with an exact first layer; sketches are as accurate without one.
    denseLayers: dense ?? (preset !== null ? "published" : index.lsh !== null ? [0] : []),
    strategy,
    autoFrom: flags.integer("auto-from", 8192, 0, MOST_CONTEXT),
    budget: share(flags, "budget", 0.02, 1),
    beta: share(flags, "beta", 1, 4),
    collisions,
    verify: share(flags, "verify", 0, 1),
    asked: flags.has("preset") || (flags.has("index") && hasIndex(index)) ||
      (strategy !== "auto" && strategy !== "full"),
  };
}

type Indexes = Pick<IndexSettings, "sketchBits" | "lsh" | "questPage" | "yardsticks">;

function hasIndex({ sketchBits, lsh, questPage }: Indexes): boolean {
  return sketchBits > 0 || lsh !== null || questPage > 0;
}

function readPreset(flags: FlagReader): { bits: number; tables: number } | null {
  const name = flags.text("preset");
  if (name === null) return null;
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name]!;
  flags.invalid(`--preset takes one of ${Object.keys(PRESETS).join(", ")}, not "${name}"`);
}

function readIndexes(flags: FlagReader, preset: Indexes["lsh"]): Indexes {
  const indexes: Indexes = {
    sketchBits: 0,
    lsh: preset,
    questPage: 0,
    yardsticks: flags.has("experimental"),
  };
  const words = flags.texts("index").flatMap((text) => text.split(","));
  if (words.length === 0) return preset === null ? { ...indexes, sketchBits: 2 } : indexes;
  for (const word of words) readIndex(flags, word, indexes);
  if (words.includes("none") && (words.length > 1 || preset !== null)) {
    flags.invalid(
      `--index none excludes every other index${preset === null ? "" : " and --preset"}`,
    );
  }
  if (indexes.questPage > 0 && !indexes.yardsticks) {
    flags.invalid("--index quest is for comparisons: it needs --experimental");
  }
  return indexes;
}

function readIndex(flags: FlagReader, word: string, indexes: Indexes): void {
  const [kind = "", sizes] = word.split(":", 2);
  const twice = (has: boolean) => {
    if (has) flags.invalid(`--index ${kind} is given twice`);
  };
  const lsh = /^lsh:(\d{1,4})x(\d{1,4})$/.exec(word);
  if (/^sketch(:[124])?$/.test(word)) {
    twice(indexes.sketchBits > 0);
    indexes.sketchBits = Number(sizes ?? 2) as 1 | 2 | 4;
  } else if (lsh !== null && inRange(lsh[1]!, 15) && inRange(lsh[2]!, 1000)) {
    if (flags.has("preset")) flags.invalid("--index lsh and --preset exclude each other");
    twice(indexes.lsh !== null);
    indexes.lsh = { bits: Number(lsh[1]), tables: Number(lsh[2]) };
  } else if (/^quest:(16|32|64)$/.test(word)) {
    twice(indexes.questPage > 0);
    indexes.questPage = Number(sizes) as 16 | 32 | 64;
  } else if (word !== "none") {
    flags.invalid(
      "--index takes sketch, sketch:1, sketch:2 or sketch:4, lsh:KxL with K from 1 to 15 and L from " +
        `1 to 1000, quest:16, quest:32 or quest:64, or none, not "${word}"`,
    );
  }
}

function inRange(digits: string, most: number): boolean {
  return Number(digits) >= 1 && Number(digits) <= most;
}

function readStrategy(flags: FlagReader, indexes: Indexes, preset: boolean): Strategy | "auto" {
  const name = flags.text("attention");
  if (name === null) return preset ? "lsh" : "auto";
  const strategy = name === "auto" ? "auto" : STRATEGIES.find((known) => known === name);
  if (strategy === undefined) {
    flags.invalid(`--attention takes one of auto, ${STRATEGIES.join(", ")}, not "${name}"`);
  }
  const lack = strategy === "auto" ? null : lacking(strategy, indexes);
  if (lack !== null) flags.invalid(`--attention ${name} needs ${lack.flags}`);
  return strategy;
}

function readDenseLayers(flags: FlagReader): number[] | null {
  const text = flags.text("dense-layers");
  if (text === null) return null;
  if (text === "none") return [];
  const layers = text.split(",").map((digits) => /^\d{1,4}$/.test(digits) ? Number(digits) : -1);
  if (layers.some((layer) => layer < 0 || layer >= MOST_LAYERS)) {
    flags.invalid(`--dense-layers takes layers from 0 up, as 0,16, or none, not "${text}"`);
  }
  if (new Set(layers).size < layers.length) {
    flags.invalid(`--dense-layers names a layer twice: ${text}`);
  }
  return layers.sort((a, b) => a - b);
}

function oneOf<T extends string>(flags: FlagReader, name: string, words: readonly T[]): T {
  const text = flags.text(name) ?? words[0]!;
  const word = words.find((known) => known === text);
  if (word === undefined) {
    flags.invalid(`--${name} takes one of ${words.join(", ")}, not "${text}"`);
  }
  return word;
}

/** A number over 0 and up to `most`; 0 only where that is the fallback. */
function share(flags: FlagReader, name: string, fallback: number, most: number): number {
  const text = flags.text(name);
  if (text === null) return fallback;
  const value = /^(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(text) ? Number(text) : NaN;
  if ((value > 0 || value === fallback) && value <= most) return value;
  const range = fallback === 0 ? `from 0 to ${most}` : `over 0 and up to ${most}`;
  flags.invalid(`--${name} takes a number ${range}, not "${text}"`);
}
