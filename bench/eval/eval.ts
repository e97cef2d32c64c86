// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task eval`: accuracy of sampled attention on documents with questions. A document is computed once and
 * exactly; every strategy then answers every question in a fork of it, in set-up A (the reply is sampled) and
 * B (the question too). `--help` lists the flags.
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../../ffi/engine.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import type { ModelSource } from "../../src/model/model.ts";
import { openModel } from "../../src/model/source.ts";
import { loadTextProcessor } from "../../src/tokenizer/load.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import { readDocuments, sampleDocuments } from "./documents.ts";
import { layerList, parseFlags, ROOT, runTool, wholeNumber } from "./flags.ts";
import { prepare, type PreparedDocument, settingsFor } from "./prepare.ts";
import { Progress } from "./progress.ts";
import { type RunFacts, writeReport } from "./report.ts";
import { askDocument, type Reply, type Setup } from "./run.ts";
import {
  bytesOfIndex,
  DEFAULT_STRATEGIES,
  type EngineGroup,
  groupByEngine,
  parseStrategies,
} from "./strategies.ts";
import { summarise } from "./summary.ts";

const OPTIONS = {
  model: { type: "string", default: `${ROOT}models/recall` },
  file: { type: "string", default: `${ROOT}tests/fixtures/eval/4096.jsonl.gz` },
  setups: { type: "string", default: "A,B" },
  strategies: { type: "string", default: DEFAULT_STRATEGIES },
  families: { type: "string" },
  documents: { type: "string" },
  "dense-layers": { type: "string", default: "0" },
  sink: { type: "string", default: String(NO_INDEX.sink) },
  window: { type: "string", default: String(NO_INDEX.window) },
  seed: { type: "string", default: "1" },
  threads: { type: "string", default: "0" },
  out: { type: "string", default: `${ROOT}bench/results/eval` },
  help: { type: "boolean", default: false },
} as const;

const HELP = `deno task eval [flags]

  --model DIR|FILE.gguf   model (default: recall)
  --file FILE.jsonl[.gz]  documents (default: those of 4,096 tokens in tests/fixtures/eval)
  --setups A,B            A: the reply is sampled; B: question and reply
  --strategies LIST       default: ${DEFAULT_STRATEGIES}
                          each with /beta=…, /collisions=… or /draws=… after it
  --families LIST         only these (default: all)
  --documents N           at most so many, of all families in turn (default: all)
  --dense-layers LIST     layers that are always exact, or none (default: 0)
  --sink N, --window N    first and last tokens that are always read
  --seed N                of the index and of all draws (default: 1)
  --threads N             default: one for each physical core
  --out DIR               where accuracy.md, .json and .svg go (default: bench/results/eval)`;

type Flags = ReturnType<typeof parse>;

function parse(args: string[]) {
  return parseFlags(() => parseArgs({ args, options: OPTIONS }).values);
}

function setupsOf(text: string): Setup[] {
  const setups = text.split(",");
  if (setups.every((setup): setup is Setup => setup === "A" || setup === "B")) return setups;
  throw new Failure("invalid", `--setups is "${text}"; it must be A, B or A,B.`);
}

/** All documents with the strategies of one engine. */
async function runGroup(
  source: ModelSource,
  text: TextProcessor,
  documents: readonly PreparedDocument[],
  group: EngineGroup,
  { setups, threads, what }: { setups: Setup[]; threads: number; what: string },
): Promise<{ replies: Reply[]; engine: string }> {
  const settings = settingsFor(documents, group, setups.length);
  const engine = await NativeEngine.open(source, { ...settings, threads });
  try {
    const progress = new Progress(what, documents.length);
    const replies: Reply[] = [];
    for (const [i, document] of documents.entries()) {
      progress.show(i, running(replies));
      replies.push(...await askDocument(engine, text, document, { ...group, setups }));
    }
    progress.show(documents.length, running(replies));
    return { replies, engine: engine.info().text };
  } finally {
    await engine.close();
  }
}

/** Exact match so far, by strategy, over all questions of set-up B or of A where there is no other. */
function running(replies: readonly Reply[]): string {
  const setup = replies.some((reply) => reply.setup === "B") ? "B" : "A";
  const mine = replies.filter((reply) => reply.setup === setup);
  return [...new Set(mine.map(({ strategy }) => strategy))].map((name) => {
    const own = mine.filter(({ strategy }) => strategy === name);
    return `${name} ${(own.filter(({ exact }) => exact).length / own.length).toFixed(3)}`;
  }).join(", ");
}

async function evaluate(flags: Flags): Promise<string> {
  const source = await openModel(flags.model);
  const { config } = source;
  const seed = wholeNumber("seed", flags.seed, 0);
  const specs = parseStrategies(flags.strategies, BigInt(seed));
  const setups = setupsOf(flags.setups);
  const common = {
    denseLayers: layerList(flags["dense-layers"], config.layers),
    sink: wholeNumber("sink", flags.sink, 0),
    window: wholeNumber("window", flags.window, 1),
    seed,
  };
  const chosen = sampleDocuments(
    await readDocuments(flags.file),
    flags.families?.split(",") ?? null,
    flags.documents === undefined ? Infinity : wholeNumber("documents", flags.documents, 1),
  );
  const { vocabulary } = config;
  const { endTokens, chatTemplate } = source;
  const text = await loadTextProcessor(source.tokenizer, { endTokens, chatTemplate, vocabulary });
  try {
    const documents = await Promise.all(chosen.map((document) => prepare(text, document)));
    const replies: Reply[] = [];
    let engine = "";
    const groups = groupByEngine(specs, common);
    for (const [i, group] of groups.entries()) {
      const what = `Engine ${i + 1} of ${groups.length}: document`;
      const threads = wholeNumber("threads", flags.threads, 0);
      const made = await runGroup(source, text, documents, group, { setups, threads, what });
      replies.push(...made.replies);
      engine = made.engine;
    }
    const longest = Math.max(...documents.map(({ shared }) => shared));
    const facts: RunFacts = {
      model: source.name,
      file: flags.file.replace(ROOT, ""),
      documents: documents.length,
      command: ["deno task eval", ...Deno.args].join(" "),
      engine,
      ...common,
      indexBytes: Object.fromEntries(
        specs.map((spec) => [spec.name, bytesOfIndex(config, spec, longest)]),
      ),
      kvBytes: 4 * config.headDim,
    };
    await writeReport(flags.out, replies, summarise(replies), facts);
    return await Deno.readTextFile(`${flags.out}/accuracy.md`);
  } finally {
    text.close();
  }
}

if (import.meta.main) {
  await runTool(async () => {
    const flags = parse(Deno.args);
    return flags.help ? HELP : await evaluate(flags);
  });
}
