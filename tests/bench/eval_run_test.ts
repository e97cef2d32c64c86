// SPDX-License-Identifier: Apache-2.0
/** The evaluation on an engine without native code: what is exact, what is shared, what is scored. */
import { assert, assertEquals } from "@std/assert";
import { sampleDocuments } from "../../bench/eval/documents.ts";
import { commonLength, prepare, settingsFor } from "../../bench/eval/prepare.ts";
import { accuracyMarkdown, accuracySvg, type RunFacts } from "../../bench/eval/report.ts";
import { askDocument, recallOf, type Reply } from "../../bench/eval/run.ts";
import { groupByEngine, parseStrategies } from "../../bench/eval/strategies.ts";
import { summarise } from "../../bench/eval/summary.ts";
import type { StepSequence } from "../../src/engine/engine.ts";
import { FakeEngine } from "../fixtures/fake_engine.ts";
import { BYTES, END, FakeText } from "../fixtures/fake_text.ts";

const DOCUMENT = {
  id: "d1",
  family: "single",
  tokens: 0,
  document: `${"The code is: 42. ".repeat(20)}\n`,
  questions: [
    { question: "What is the code?", answer: "It is 42.", values: ["42"] },
    { question: "What else?", answer: "Nothing.", values: ["Nothing"] },
  ],
};
/** Says "It is 42." after any prompt. */
function next(tokens: readonly number[]): number {
  const answer = BYTES.encode("It is 42.");
  const question = tokens.lastIndexOf(10);
  return answer[tokens.length - question - 1] ?? END;
}

async function run(list: string, setups: ("A" | "B")[]) {
  const text = new FakeText();
  const [group] = groupByEngine(parseStrategies(list));
  const document = await prepare(text, DOCUMENT);
  const settings = settingsFor([document], group!, setups.length);
  const seen: StepSequence[] = [];
  const engine = new FakeEngine({
    ...settings,
    maxStepTokens: 128,
    maxStepSequences: 3,
    next,
    during: (_, sequences) => void seen.push(...sequences),
  });
  const replies = await askDocument(engine, text, document, { ...group!, setups });
  return { replies, engine, seen, document };
}

Deno.test("every question is answered by every strategy in both set-ups", async () => {
  const { replies, engine } = await run("full,sketch@0.02,lsh:10x150", ["A", "B"]);
  assertEquals(replies.length, 12);
  assertEquals(replies.map(({ text }) => text), Array(12).fill("It is 42."));
  assertEquals(
    replies.filter(({ exact }) => exact).map(({ question }) => question),
    Array(6).fill(0),
  );
  assertEquals(new Set(replies.map(({ setup, strategy }) => setup + strategy)).size, 6);
  assertEquals(engine.violations, []);
  assertEquals(engine.outOfBlocks, 0);
  assertEquals(engine.usage().contexts, 0);
});

Deno.test("the document is computed once and exactly; A samples from the reply on, B from the question", async () => {
  const { seen, document } = await run("full,sketch@0.02", ["A", "B"]);
  const { shared, prompts } = document;
  const documentTokens = seen.filter(({ attention, sampling }) => !attention && !sampling)
    .reduce((sum, { tokens }) => sum + tokens.length, 0);
  assertEquals(documentTokens, shared);
  assert(seen.some(({ attention }) => attention !== undefined));
  const sampled = seen.flatMap(({ attention }) => attention === undefined ? [] : [attention.from]);
  assertEquals(new Set(sampled), new Set([shared, ...prompts.map(({ length }) => length)]));
  for (const { attention, tokens } of seen) {
    if (attention !== undefined && attention.from > shared) assertEquals(tokens.length, 1);
  }
  // Draws of two questions differ.
  const seeds = new Set(
    seen.flatMap(({ attention }) => attention === undefined ? [] : [attention.seed]),
  );
  assertEquals(seeds.size, 2);
});

Deno.test("the document's tokens are those before the first question, even if questions begin alike", async () => {
  const document = await prepare(new FakeText(), DOCUMENT);
  const begin = BYTES.encode(`user: ${DOCUMENT.document}`).length;
  assertEquals(document.shared, begin);
  assertEquals(commonLength([[1, 2, 3], [1, 2, 3]]), 2);
  assertEquals(commonLength([[1, 2, 3], [1, 5, 3]]), 1);
});

Deno.test("tables are built with the document, which stays exact", async () => {
  const { seen, document, replies } = await run("full,lsh:10x150", ["A", "B"]);
  const building = seen.filter(({ sampling }) => sampling === null);
  assertEquals(building.reduce((sum, { tokens }) => sum + tokens.length, 0), document.shared);
  assert(building.every(({ attention }) => attention?.strategy === "lsh"));
  assert(building.every(({ attention }) => attention!.from === document.shared));
  assertEquals(replies.length, 8);
});

Deno.test("a sample takes families in turn", () => {
  const documents = ["a1", "a2", "a3", "b1", "b2", "c1"].map((id) => ({
    ...DOCUMENT,
    id,
    family: id[0]!,
  }));
  const ids = (count: number, families: string[] | null = null) =>
    sampleDocuments(documents, families, count).map(({ id }) => id).join(" ");
  assertEquals(ids(3), "a1 b1 c1");
  assertEquals(ids(5), "a1 a2 b1 b2 c1");
  assertEquals(ids(3, ["a"]), "a1 a2 a3");
  assertEquals(ids(Infinity), "a1 a2 a3 b1 b2 c1");
});

Deno.test("recall is the share of values in the reply", () => {
  assertEquals(recallOf("4 and 5", ["4", "5", "6", "7"]), 0.5);
  assertEquals(recallOf("", []), 0);
});

const FACTS: RunFacts = {
  model: "m<odel>",
  file: "f",
  documents: 2,
  command: "deno task eval",
  engine: "fake",
  denseLayers: [0],
  sink: 4,
  window: 64,
  leastRows: 256,
  seed: 1,
  indexBytes: { "full": 0, "sketch@0.02": 19 },
  kvBytes: 256,
};

function reply(id: string, strategy: string, exact: boolean): Reply {
  const figures = { tokens: 4, keysShare: 0.1, chosenKeys: 0.01, chosenRows: 0.02 };
  return {
    id,
    family: id[0]!,
    question: 0,
    setup: "B",
    strategy,
    text: "",
    exact,
    recall: exact ? 1 : 0,
    ...figures,
  };
}

Deno.test("scores are means of families, differences are paired", () => {
  const replies = ["a1", "a2", "a3", "b1"].flatMap((id) => [
    reply(id, "full", id !== "a1"),
    reply(id, "sketch@0.02", id === "b1" || id === "a1"),
  ]);
  const [full, sketch] = summarise(replies);
  assertEquals(full!.exact.value, (2 / 3 + 1) / 2);
  assertEquals(sketch!.exact.value, (1 / 3 + 1) / 2);
  assertEquals(full!.difference, null);
  assertEquals(Number(sketch!.difference!.value.toFixed(6)), Number((-1 / 6).toFixed(6)));
  assertEquals(sketch!.chosenRows, 0.02);
  const page = accuracyMarkdown([full!, sketch!], FACTS);
  assert(page.includes("| sketch@0.02 | 4 | .667 ("), page);
  assert(page.includes("| 1.00 % | 2.00 % | 19.0 |"), page);
  assert(!page.includes("Attended exactly"), page);
  const short = accuracyMarkdown([full!, { ...sketch!, chosenRows: null }], FACTS);
  assert(short.includes("there was nothing to sample: sketch@0.02."), short);
  const svg = accuracySvg([full!, sketch!], FACTS);
  assert(svg.startsWith("<svg ") && svg.includes(">sketch@0.02</text>"));
});
