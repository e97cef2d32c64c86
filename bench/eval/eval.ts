// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task eval`: accuracy of sampled attention on documents with questions. A document is computed once and
 * exactly; every strategy then answers every question in a fork of it, in set-up A (the reply is sampled) and
 * B (the question too). `--help` lists the flags.
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../../ffi/engine.ts";
import { CPU, DEFAULT_SETTINGS, type EngineSettings, NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import type { ModelConfig, ModelSource } from "../../src/model/model.ts";
import { openModel } from "../../src/model/source.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import { freeMemory, layersForCpu, placeLayers } from "../device.ts";
import { readDocuments, sampleDocuments } from "./documents.ts";
import {
  COMMON_OPTIONS,
  commonHelp,
  commonOf,
  DEVICE_HELP,
  DEVICE_OPTIONS,
  type DeviceFlags,
  makeOut,
  parseFlags,
  readDeviceFlags,
  ROOT,
  runTool,
  wholeNumber,
  withText,
} from "./flags.ts";
import { prepare, type PreparedDocument, settingsFor } from "./prepare.ts";
import { Progress } from "./progress.ts";
import { type RunFacts, writeReport } from "./report.ts";
import { askDocument, type Reply, type Setup } from "./run.ts";
import {
  checkSampling,
  DEFAULT_STRATEGIES,
  type EngineGroup,
  groupByEngine,
  indexBytesOf,
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
  out: { type: "string", default: `${ROOT}bench/results/eval` },
  ...COMMON_OPTIONS,
  ...DEVICE_OPTIONS,
} as const;

const HELP = `deno task eval [flags]

  --model DIR|FILE.gguf   model (default: recall)
  --file FILE.jsonl[.gz]  documents (default: those of 4,096 tokens in tests/fixtures/eval)
  --setups A,B            A: the reply is sampled; B: question and reply
  --strategies LIST       default: ${DEFAULT_STRATEGIES}
                          each with /beta=…, /collisions=… or /draws=… after it
  --families LIST         only these (default: all)
  --documents N           at most so many, of all families in turn (default: all)
${commonHelp(NO_INDEX.leastRows)}
${DEVICE_HELP}
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

/** Settings that say where the KV lies. */
function placedOn(
  config: ModelConfig,
  settings: EngineSettings,
  { vram, memory }: DeviceFlags,
): EngineSettings {
  if (settings.device === CPU) return settings;
  const free = freeMemory(settings.device, vram, memory);
  return placeLayers(config, settings, free, layersForCpu(config, settings));
}

/** All documents with the strategies of one engine. */
async function runGroup(
  source: ModelSource,
  text: TextProcessor,
  documents: readonly PreparedDocument[],
  group: EngineGroup,
  { setups, threads, what, flags }: {
    setups: Setup[];
    threads: number;
    what: string;
    flags: DeviceFlags;
  },
): Promise<{ replies: Reply[]; engine: string }> {
  const settings = {
    ...DEFAULT_SETTINGS,
    ...settingsFor(documents, group, setups.length),
    ...readDeviceFlags(flags),
    threads,
  };
  const engine = await NativeEngine.open(source, placedOn(source.config, settings, flags));
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

/** The documents that were asked for, as tokens. */
async function chosenDocuments(flags: Flags, text: TextProcessor): Promise<PreparedDocument[]> {
  const chosen = sampleDocuments(
    await readDocuments(flags.file),
    flags.families?.split(",") ?? null,
    flags.documents === undefined ? Infinity : wholeNumber("documents", flags.documents, 1),
  );
  const documents: PreparedDocument[] = [];
  for (const document of chosen) documents.push(await prepare(text, document));
  return documents;
}

async function evaluate(flags: Flags): Promise<string> {
  const source = await openModel(flags.model);
  const common = commonOf(flags, source.config, NO_INDEX.leastRows);
  const specs = parseStrategies(flags.strategies, BigInt(common.seed));
  const setups = setupsOf(flags.setups);
  const threads = wholeNumber("threads", flags.threads, 0);
  checkSampling(source.config, specs);
  await makeOut(flags.out);
  return await withText(source, async (text) => {
    const documents = await chosenDocuments(flags, text);
    const replies: Reply[] = [];
    let engine = "";
    const groups = groupByEngine(specs, common);
    for (const [i, group] of groups.entries()) {
      const what = `Engine ${i + 1} of ${groups.length}: document`;
      const made = await runGroup(source, text, documents, group, { setups, threads, what, flags });
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
      indexBytes: indexBytesOf(source.config, specs, longest),
      kvBytes: 4 * source.config.headDim,
    };
    await writeReport(flags.out, replies, summarise(replies), facts);
    return await Deno.readTextFile(`${flags.out}/accuracy.md`);
  });
}

if (import.meta.main) {
  await runTool(async () => {
    const flags = parse(Deno.args);
    return flags.help ? HELP : await evaluate(flags);
  });
}
