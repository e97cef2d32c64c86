// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import {
  type AttentionPolicy,
  type AttentionRequest,
  chooseAttention,
  EXACT_POLICY,
  isVerified,
  SERVER_ATTENTION,
} from "../../../src/engine/attention.ts";
import { STRATEGIES } from "../../../src/engine/engine.ts";
import { NO_INDEX } from "../../../src/engine/settings.ts";
import { failureOf } from "../../fixtures/requests.ts";

const LSH = { bits: 10, tables: 150 };

function policy(index: Partial<typeof NO_INDEX>, more: Partial<AttentionPolicy> = {}) {
  return { ...EXACT_POLICY, ...more, index: { ...NO_INDEX, ...index } };
}

function strategy(
  some: AttentionPolicy,
  asked: Partial<AttentionRequest> = {},
  prompt = 10_000,
): string {
  const chosen = chooseAttention(some, { ...SERVER_ATTENTION, ...asked }, prompt, 1n);
  return chosen?.params.strategy ?? "full";
}

Deno.test("auto is exact up to 8,192 tokens of prompt and samples beyond them", () => {
  const some = policy({ sketchBits: 2 });
  assertEquals([strategy(some, {}, 8192), strategy(some, {}, 8193)], ["full", "sketch"]);
  assertEquals(strategy({ ...some, autoFrom: 5 }, { strategy: "auto" }, 6), "sketch");
});

Deno.test("auto takes sketches before lsh, and stays exact without an index", () => {
  assertEquals(strategy(policy({ sketchBits: 1, lsh: LSH })), "sketch");
  assertEquals(strategy(policy({ lsh: LSH })), "lsh");
  assertEquals(strategy(policy({ yardsticks: true, questPage: 16 })), "full");
  assertEquals(strategy(EXACT_POLICY), "full");
});

Deno.test("the server's strategy is for requests that say nothing or auto, at any length", () => {
  const some = policy({ sketchBits: 2, lsh: LSH }, { strategy: "lsh" });
  assertEquals([strategy(some, {}, 1), strategy(some, { strategy: "auto" }, 1)], ["lsh", "lsh"]);
  assertEquals(strategy(some, { strategy: "full" }), "full");
  assertEquals(strategy(some, { strategy: "sketch" }, 1), "sketch");
});

Deno.test("a strategy that the server lacks is refused with the flag that gives it", () => {
  const refusal = (asked: AttentionRequest["strategy"], some = EXACT_POLICY) => {
    const failure = failureOf(() => strategy(some, { strategy: asked }));
    assertEquals([failure.kind, failure.param], ["invalid", "sounder.attention"]);
    return failure.message;
  };
  assertEquals(
    refusal("lsh"),
    `sounder.attention can't be "lsh" here: this server keeps no lsh tables. Start the server with ` +
      "--index lsh:10x150.",
  );
  assertEquals(
    refusal("sketch", policy({ lsh: LSH })),
    `sounder.attention can't be "sketch" here: this server keeps no sketches. Start the server ` +
      "with --index sketch.",
  );
  assert(refusal("quest").endsWith("Start the server with --experimental --index quest:16."));
  for (const yardstick of ["topk", "oracle"] as const) {
    assert(refusal(yardstick, policy({ sketchBits: 2 })).endsWith("with --experimental."));
  }
  const all = policy({ sketchBits: 4, lsh: LSH, questPage: 64, yardsticks: true });
  for (const name of STRATEGIES) assertEquals(strategy(all, { strategy: name }), name);
});

Deno.test("a model with a sliding window attends exactly and says why it does nothing else", () => {
  const some = policy({}, { strategy: "lsh", slidingWindow: 4096 });
  assertEquals([strategy(some), strategy(some, { strategy: "full" })], ["full", "full"]);
  const { message } = failureOf(() => strategy(some, { strategy: "sketch" }));
  assert(message.includes("a window of 4096 tokens"), message);
});

Deno.test("what a request leaves open is the server's, and what it says counts", () => {
  const some = policy({ sketchBits: 2 }, { budget: 0.05, beta: 1.5, collisions: 3, verify: 0.25 });
  const chosen = chooseAttention(some, SERVER_ATTENTION, 9000, 7n)!;
  assertEquals([chosen.from, chosen.verify], [9000, 0.25]);
  const { seed, ...params } = chosen.params;
  assertEquals(params, { strategy: "sketch", budget: 0.05, beta: 1.5, collisions: 3, draws: 0 });
  assertEquals(seed, chooseAttention(some, SERVER_ATTENTION, 10_000, 7n)!.params.seed);
  assertNotEquals(seed, chooseAttention(some, SERVER_ATTENTION, 9000, 8n)!.params.seed);
  assertNotEquals(seed, 7n);
  const asked = {
    strategy: "sketch",
    budget: 1,
    beta: 4,
    seed: 5n,
    collisions: 1,
    draws: 9,
  } as const;
  assertEquals(chooseAttention(some, asked, 3, 7n)!.params, asked);
});

Deno.test("more collisions than the server has lsh tables are refused, since no key would be found", () => {
  const two = policy({ sketchBits: 2, lsh: { bits: 8, tables: 2 } });
  const failure = failureOf(() => strategy(two, { strategy: "lsh", collisions: 3 }));
  assertEquals([failure.kind, failure.param], ["invalid", "sounder.collisions"]);
  assertEquals(
    failure.message,
    "sounder.collisions can't be 3 here: this server's lsh has 2 tables, so no key would be found in so many. " +
      "Ask for fewer.",
  );
  assertEquals(strategy(two, { strategy: "lsh" }), "lsh");
  assertEquals(strategy(two, { strategy: "sketch", collisions: 3 }), "sketch");
});

Deno.test("seeds are 64 bits whatever they are made of", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (sampling) => {
      const { seed } = chooseAttention(policy({ sketchBits: 2 }), SERVER_ATTENTION, 9000, sampling)!
        .params;
      assert(seed >= 0n && seed < 2n ** 64n);
    }),
    { seed: 3 },
  );
});

Deno.test("verified tokens are that share of those that sample, the same ones each time", () => {
  const some = policy({ sketchBits: 2 }, { verify: 0.1 });
  const positions = Array.from({ length: 20_000 }, (_, i) => 9000 + i);
  const verified = (sampling: bigint, share = 0.1) => {
    const attention = chooseAttention(
      { ...some, verify: share },
      SERVER_ATTENTION,
      9000,
      sampling,
    )!;
    assert(!isVerified(attention, 8999), "the prompt is exact");
    return positions.filter((position) => isVerified(attention, position));
  };
  const first = verified(1n);
  // Five standard deviations of a binomial.
  assert(Math.abs(first.length - 2000) < 5 * Math.sqrt(20_000 * 0.1 * 0.9), `${first.length}`);
  assertEquals(verified(1n), first);
  assertNotEquals(verified(2n), first);
  assertEquals([verified(1n, 0).length, verified(1n, 1).length], [0, 20_000]);
});
