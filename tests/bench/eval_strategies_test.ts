// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import {
  checkSampling,
  DEFAULT_STRATEGIES,
  groupByEngine,
  parseStrategies,
  parseStrategy,
} from "../../bench/eval/strategies.ts";
import { Failure } from "../../src/errors.ts";

Deno.test("a strategy is read with its budget, its index and its options", () => {
  assertEquals(parseStrategy("full").needs, {});
  const sketch = parseStrategy("sketch1@0.02/beta=0.9", 7n);
  assertEquals(sketch.needs, { sketchBits: 1 });
  assertEquals(sketch.params.budget, 0.02);
  assertEquals(sketch.params.beta, 0.9);
  assertEquals(sketch.params.seed, 7n);
  assertEquals(parseStrategy("sketch@0.5").needs, { sketchBits: 2 });
  const lsh = parseStrategy("lsh:10x150/collisions=3");
  assertEquals(lsh.needs, { lsh: { bits: 10, tables: 150 } });
  assertEquals(lsh.params.collisions, 3);
  assertEquals(parseStrategy("quest:64@0.1").needs, { questPage: 64 });
  assertEquals(parseStrategy("oracle@0.02/draws=64").params.draws, 64);
});

Deno.test("what is no strategy is named in a sentence", () => {
  const wrong: [string, string][] = [
    ["", "it is not known"],
    ["sketch", "it needs a budget"],
    ["sketch@", "it is not known"],
    ["sketch@0", "0 is not from"],
    ["sketch@1.5", "1.5 is not from"],
    ["sketch3@0.1", "it is not known"],
    ["full@0.1", "it takes no budget"],
    ["lsh:10", "it needs bits and tables"],
    ["lsh:16x10", "16 is not from 1 to 15"],
    ["quest:17@0.1", "pages have 16, 32 or 64"],
    ["topk1@0.1", "only sketch has bits"],
    ["sketch@0.1/gamma=1", 'there is no option "gamma"'],
    ["sketch@0.1/beta", "nothing is not from"],
    ["lsh:8x75/collisions=1.5", "1.5 is no whole number"],
    ["lsh:8x2/collisions=3", "no key is found in 3 of 2 tables"],
    ["oracle@0.1/draws=0.5", "0.5 is no whole number"],
  ];
  for (const [text, why] of wrong) assertThrows(() => parseStrategy(text), Failure, why);
  assertThrows(() => parseStrategies("full,full"), Failure, "listed twice");
});

Deno.test("strategies share an engine unless their indexes differ", () => {
  const groups = groupByEngine(parseStrategies(DEFAULT_STRATEGIES), {
    seed: 5,
    denseLayers: [0, 2],
  });
  assertEquals(groups.map(({ strategies }) => strategies.map(({ name }) => name)), [
    [
      "full",
      "sketch@0.02",
      "sketch@0.01",
      "lsh:10x150",
      "quest:16@0.04",
      "topk@0.02",
      "oracle@0.02",
    ],
    ["sketch1@0.02", "lsh:9x120"],
    ["lsh:8x75"],
  ]);
  const [first, second] = groups;
  assertEquals(first!.index.sketchBits, 2);
  assertEquals(first!.index.lsh, { bits: 10, tables: 150 });
  assertEquals(first!.index.questPage, 16);
  assertEquals(first!.index.yardsticks, true);
  assertEquals(second!.index.sketchBits, 1);
  assertEquals(second!.index.questPage, 0);
  assertEquals(groups.map(({ index }) => index.seed), [5, 5, 5]);
  assertEquals(second!.index.denseLayers, [0, 2]);
});

Deno.test("strategies that sample are refused where the model's own window leaves them nothing", () => {
  const specs = parseStrategies("full,sketch@0.02,lsh:8x75");
  checkSampling({ slidingWindow: 0 }, specs);
  checkSampling({ slidingWindow: 1000 }, specs.slice(0, 1));
  assertThrows(
    () => checkSampling({ slidingWindow: 1000 }, specs),
    Failure,
    "sketch@0.02 has nothing to sample: this model attends within a window of 1000 tokens",
  );
});
