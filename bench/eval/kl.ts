// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task eval:kl`: how far each strategy's distribution of the next token lies from full attention's on the
 * last tokens of texts, given the same tokens before. `--help` lists the flags.
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../../ffi/engine.ts";
import type { ModelSource } from "../../src/model/model.ts";
import { openModel } from "../../src/model/source.ts";
import { blocksFor, diverge, type Divergence } from "./divergence.ts";
import {
  COMMON_OPTIONS,
  commonHelp,
  commonOf,
  makeOut,
  parseFlags,
  ROOT,
  runTool,
  wholeNumber,
  withText,
} from "./flags.ts";
import { type DivergenceFacts, writeDivergences } from "./kl_report.ts";
import { Progress } from "./progress.ts";
import {
  checkSampling,
  type EngineGroup,
  groupByEngine,
  indexBytesOf,
  parseStrategies,
  parseStrategy,
} from "./strategies.ts";
import { readTexts, TEXTS, type TextTokens } from "./texts.ts";

const STRATEGIES = "sketch@0.01,sketch@0.02,sketch@0.04,lsh:10x150,quest:16@0.04,topk@0.02," +
  "oracle@0.02,sketch1@0.01,sketch1@0.02,sketch1@0.04,lsh:9x120,sketch4@0.02,lsh:8x75";
/** Texts of some thousand tokens: the server's floor would make small budgets alike. */
const LEAST_ROWS = 1;
const OPTIONS = {
  model: { type: "string", default: `${ROOT}models/smollm2-135m-instruct/model.gguf` },
  texts: { type: "string", default: TEXTS },
  strategies: { type: "string", default: STRATEGIES },
  last: { type: "string", default: "256" },
  tokens: { type: "string" },
  out: { type: "string", default: `${ROOT}bench/results/kl` },
  ...COMMON_OPTIONS,
} as const;

const HELP = `deno task eval:kl [flags]

  --model DIR|FILE.gguf   model (default: SmolLM2, see deno task model:smollm2)
  --texts LIST            files and folders of .txt files (default: bench/texts)
  --strategies LIST       default: ${STRATEGIES}
  --last N                tokens that are sampled and compared (default: 256)
  --tokens N              most tokens of a text (default: the model's context)
${commonHelp(LEAST_ROWS)}
  --out DIR               where kl.md, kl.json and kl.svg go (default: bench/results/kl)`;

const CHUNK = 1024;

/** The strategies of one engine on all texts, beside full attention in the same engine. */
async function runGroup(
  source: ModelSource,
  texts: readonly TextTokens[],
  { index, strategies }: EngineGroup,
  { last, threads, what }: { last: number; threads: number; what: string },
): Promise<{ found: Divergence[]; engine: string }> {
  const specs = [
    parseStrategy("full"),
    ...strategies.filter(({ params }) => params.strategy !== "full"),
  ];
  const context = Math.max(...texts.map(({ tokens }) => tokens.length));
  const engine = await NativeEngine.open(source, {
    threads,
    context,
    kvBlocks: Math.max(...texts.map(({ tokens }) => blocksFor(tokens.length, last, specs.length))),
    maxContexts: specs.length + 1,
    maxStepTokens: CHUNK,
    maxStepSequences: specs.length,
    index: { ...index, lshTokens: index.lsh === null ? 0 : 2 * (context + 128) },
  });
  try {
    const progress = new Progress(what, texts.length);
    const found: Divergence[] = [];
    for (const [i, text] of texts.entries()) {
      progress.show(i, text.name);
      found.push(...await diverge(engine, text, specs, last));
    }
    progress.show(texts.length);
    return {
      found: found.filter(({ strategy }) => strategy !== "full"),
      engine: engine.info().text,
    };
  } finally {
    await engine.close();
  }
}

async function main(flags: ReturnType<typeof parse>): Promise<string> {
  const source = await openModel(flags.model);
  const { config } = source;
  const common = commonOf(flags, config, LEAST_ROWS);
  const last = wholeNumber("last", flags.last, 1);
  const threads = wholeNumber("threads", flags.threads, 0);
  const most = flags.tokens === undefined ? config.context : wholeNumber("tokens", flags.tokens, 2);
  const specs = parseStrategies(flags.strategies, BigInt(common.seed));
  checkSampling(config, specs);
  await makeOut(flags.out);
  const texts = await withText(
    source,
    (text) => readTexts(flags.texts, text, Math.min(most, config.context), last + 1),
  );
  const groups = groupByEngine(specs, common);
  const found: Divergence[] = [];
  let engine = "";
  for (const [i, group] of groups.entries()) {
    const what = `Engine ${i + 1} of ${groups.length}: text`;
    const made = await runGroup(source, texts, group, { last, threads, what });
    found.push(...made.found);
    engine = made.engine;
  }
  const longest = Math.max(...texts.map(({ tokens }) => tokens.length));
  const facts: DivergenceFacts = {
    model: source.name,
    texts: texts.map(({ name, tokens }) => ({ name, tokens: tokens.length })),
    last,
    command: ["deno task eval:kl", ...Deno.args].join(" "),
    engine,
    ...common,
    indexBytes: indexBytesOf(config, specs, longest),
  };
  return await writeDivergences(flags.out, found, facts);
}

function parse(args: string[]) {
  return parseFlags(() => parseArgs({ args, options: OPTIONS }).values);
}

if (import.meta.main) {
  await runTool(async () => {
    const flags = parse(Deno.args);
    return flags.help ? HELP : await main(flags);
  });
}
