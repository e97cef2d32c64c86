// SPDX-License-Identifier: Apache-2.0
/** How a request attends: what it asks for, what the server has, and what comes of the two. */
import { Failure } from "../errors.ts";
import type { AttentionParams, Strategy } from "./engine.ts";
import { type IndexSettings, NO_INDEX } from "./settings.ts";

/** What a request says about attention; null where it leaves it to the server. */
export interface AttentionRequest {
  /** "auto": what the server has for requests that say nothing. */
  strategy: Strategy | "auto";
  budget: number | null;
  beta: number | null;
  seed: bigint | null;
  collisions: number | null;
  draws: number | null;
}

/** A request that says nothing. */
export const SERVER_ATTENTION: AttentionRequest = {
  strategy: "auto",
  budget: null,
  beta: null,
  seed: null,
  collisions: null,
  draws: null,
};

/** What the server has, and what it does where a request says nothing. */
export interface AttentionPolicy {
  /** "auto": exact up to `autoFrom` tokens of prompt, beyond them with the best index there is. */
  strategy: Strategy | "auto";
  autoFrom: number;
  budget: number;
  beta: number;
  collisions: number;
  /** Share of decode tokens that are computed exactly too, 0 to 1. */
  verify: number;
  index: IndexSettings;
  /** Tokens of the model's sliding window, which is always read exactly; 0: none. */
  slidingWindow: number;
}

/** A server without an index. */
export const EXACT_POLICY: AttentionPolicy = {
  strategy: "auto",
  autoFrom: 8192,
  budget: 0.02,
  beta: 1,
  collisions: 2,
  verify: 0,
  index: NO_INDEX,
  slidingWindow: 0,
};

/** How a job attends; null stands for exact attention. */
export interface JobAttention {
  params: AttentionParams;
  /** Position of the first token that samples: the prompt's length. */
  from: number;
  /** Share of decode tokens that are computed exactly too. */
  verify: number;
}

/** What a strategy lacks with these indexes, and the flags that give it; null: nothing. */
export function lacking(
  strategy: Strategy,
  index: Pick<IndexSettings, "sketchBits" | "lsh" | "questPage" | "yardsticks">,
): { why: string; flags: string } | null {
  switch (strategy) {
    case "full":
      return null;
    case "sketch":
      return index.sketchBits > 0
        ? null
        : { why: "this server keeps no sketches", flags: "--index sketch" };
    case "lsh":
      return index.lsh !== null
        ? null
        : { why: "this server keeps no lsh tables", flags: "--index lsh:10x150" };
    case "quest":
      return index.questPage > 0 ? null : {
        why: "this server keeps no bounds of pages",
        flags: "--experimental --index quest:16",
      };
    case "topk":
    case "oracle":
      return index.yardsticks ? null : {
        why: "it reads every key, as a yardstick for the others",
        flags: "--experimental",
      };
  }
}

/** Strategies that take the best keys leave nothing to chance: their error is none of sampling, and not known. */
export function leavesToChance(strategy: Strategy): boolean {
  return strategy !== "quest" && strategy !== "topk";
}

/** The strategy of a request. @throws {Failure} kind `invalid` when the server lacks what it needs. */
function strategyOf(asked: Strategy | "auto", policy: AttentionPolicy, prompt: number): Strategy {
  const { index, slidingWindow } = policy;
  const wanted = asked === "auto" && slidingWindow === 0 ? policy.strategy : asked;
  if (wanted === "auto") {
    if (prompt <= policy.autoFrom || slidingWindow > 0) return "full";
    return (["sketch", "lsh"] as const).find((name) => lacking(name, index) === null) ?? "full";
  }
  const param = "sounder.attention";
  if (slidingWindow > 0 && wanted !== "full") {
    throw new Failure(
      "invalid",
      `${param} can't be "${wanted}" here: this model attends within a window of ${slidingWindow} ` +
        'tokens, which is always read exactly. Ask for "full" or "auto".',
      { param },
    );
  }
  const lack = lacking(wanted, index);
  if (lack === null) return wanted;
  throw new Failure(
    "invalid",
    `${param} can't be "${wanted}" here: ${lack.why}. Start the server with ${lack.flags}.`,
    { param },
  );
}

/**
 * How a request with a prompt of so many tokens attends. It depends on nothing else, and not on load.
 * `samplingSeed` gives the seed where the request gives none.
 * @throws {Failure} kind `invalid` with a sentence that names the flag that the server lacks
 */
export function chooseAttention(
  policy: AttentionPolicy,
  asked: AttentionRequest,
  promptTokens: number,
  samplingSeed: bigint,
): JobAttention | null {
  const strategy = strategyOf(asked.strategy, policy, promptTokens);
  if (strategy === "full") return null;
  const tables = policy.index.lsh?.tables ?? 0, collisions = asked.collisions ?? policy.collisions;
  if (strategy === "lsh" && collisions > tables) {
    throw new Failure(
      "invalid",
      `sounder.collisions can't be ${collisions} here: this server's lsh has ${tables} table` +
        `${tables === 1 ? "" : "s"}, so no key would be found in so many. Ask for fewer.`,
      { param: "sounder.collisions" },
    );
  }
  const params = {
    strategy,
    budget: asked.budget ?? policy.budget,
    beta: asked.beta ?? policy.beta,
    // Another one than that of the tokens' draws, which are made from the same positions.
    seed: asked.seed ?? mix64(samplingSeed),
    collisions,
    draws: asked.draws ?? 0,
  };
  return { params, from: promptTokens, verify: policy.verify };
}

/** Tables of `lsh` belong to each context: memory for them is that of all its tokens, shared or not. */
export function sharesBlocks(attention: JobAttention | null): boolean {
  return attention?.params.strategy !== "lsh";
}

/** Whether the token at this position is one of those that are verified: decided by seed and position. */
export function isVerified({ params, from, verify }: JobAttention, position: number): boolean {
  if (verify === 0 || position < from) return false;
  const draw = mix64(params.seed + BigInt(position) * 0x9e3779b97f4a7c15n);
  return Number(draw >> 11n) < verify * 2 ** 53;
}

/** splitmix64's finaliser: every bit of the result depends on every bit of the value. */
function mix64(value: bigint): bigint {
  let x = BigInt.asUintN(64, value + 0x9e3779b97f4a7c15n);
  x = BigInt.asUintN(64, (x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}
