// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task figures`: what each strategy makes of the queries, keys and values that a model has on a text: error
 * against budget, coverage of the best keys, variance against the paper's Theorem 3.2, geometry of the keys,
 * estimated against true scores. `--help` lists the flags.
 */
import { parseArgs } from "node:util";
import { NativeEngine } from "../../ffi/engine.ts";
import { Failure } from "../../src/errors.ts";
import type { ModelSource } from "../../src/model/model.ts";
import { openModel } from "../../src/model/source.ts";
import { blocksFor } from "../eval/divergence.ts";
import {
  COMMON_OPTIONS,
  commonHelp,
  commonOf,
  layerList,
  makeOut,
  parseFlags,
  ROOT,
  runTool,
  wholeNumber,
  withText,
} from "../eval/flags.ts";
import { Progress } from "../eval/progress.ts";
import {
  checkSampling,
  type EngineGroup,
  groupByEngine,
  parseStrategies,
} from "../eval/strategies.ts";
import { readTexts, TEXTS, type TextTokens } from "../eval/texts.ts";
import {
  attendAll,
  type Attended,
  estimatedScores,
  type Looking,
  trueScores,
  varianceAgainstTheorem,
} from "./experiment.ts";
import { type Drawn, writeFigures } from "./page.ts";
import { positionsOf, read, type Reading, readOnly } from "./reading.ts";

const BUDGETS = [0.005, 0.01, 0.02, 0.04, 0.08];
const STRATEGIES = [
  ...["sketch", "topk", "oracle", "quest:16", "sketch1", "sketch4"].flatMap((kind) =>
    BUDGETS.map((budget) => `${kind}@${budget}`)
  ),
  "lsh:10x150",
  "lsh:9x120",
  "lsh:8x75",
].join(",");
/** Texts of some thousand tokens: the server's floor would make small budgets alike. */
const LEAST_ROWS = 1;
const OPTIONS = {
  model: { type: "string", default: `${ROOT}models/smollm2-135m-instruct/model.gguf` },
  text: { type: "string", default: `${TEXTS}/prose.txt` },
  strategies: { type: "string", default: STRATEGIES },
  tokens: { type: "string" },
  layers: { type: "string" },
  positions: { type: "string", default: "12" },
  draws: { type: "string", default: "2" },
  out: { type: "string", default: `${ROOT}bench/results/figures` },
  ...COMMON_OPTIONS,
} as const;

const HELP = `deno task figures [flags]

  --model DIR|FILE.gguf   model (default: SmolLM2, see deno task model:smollm2)
  --text FILE             text (default: bench/texts/prose.txt)
  --strategies LIST       default: sketch, sketch1, sketch4, quest:16, topk and oracle with
                          ${BUDGETS.join(", ")}, and lsh:10x150, lsh:9x120, lsh:8x75
  --tokens N              most tokens of the text (default: the model's context)
  --layers LIST           layers to look at (default: six, spread evenly)
  --positions N           query positions, spread over the last 512 (default: 12)
  --draws N               draws of each strategy (default: 2)
${commonHelp(LEAST_ROWS)}
  --out DIR               where figures.md, figures.json and *.svg go (default: bench/results/figures)`;

/** Query positions lie in so many last tokens. */
const SPAN = 512;
const LAYERS = 6;
const CHUNK = 1024;
const THEOREM = { draws: [16, 64, 256], repeats: 64 };

/** So many layers spread evenly over those that may sample. */
function spreadLayers(layers: number, dense: readonly number[], count: number): number[] {
  const sampling = Array.from({ length: layers }, (_, i) => i).filter((i) => !dense.includes(i));
  if (sampling.length === 0) throw new Failure("invalid", "All layers are exact: nothing to draw.");
  const step = Math.max(1, (sampling.length - 1) / (count - 1));
  const picked = Array.from({ length: count }, (_, i) => sampling[Math.round(i * step)]);
  return [...new Set(picked.filter((layer) => layer !== undefined))];
}

interface Job {
  source: ModelSource;
  text: TextTokens;
  looking: Looking;
  threads: number;
  seed: number;
  sink: number;
}

/** Everything that only one engine is needed for. */
async function drawRest(
  engine: NativeEngine,
  context: number,
  reading: Reading,
  { source: { config: shape }, looking, seed, sink }: Job,
): Promise<Pick<Drawn, "truths" | "estimates" | "variance">> {
  const few = { ...looking, positions: looking.positions.slice(-3) };
  const truths = await trueScores(engine, context, reading, few, shape);
  const estimates = await estimatedScores(engine, context, reading, few, shape);
  const variance = await varianceAgainstTheorem(
    engine,
    context,
    { reading, scored: truths, shape, sink },
    { ...THEOREM, seed },
  );
  return { truths, estimates, variance };
}

/** The strategies of one engine; the first engine also reads the text for the figures. */
async function runGroup(
  job: Job,
  { index, strategies }: EngineGroup,
  known: Drawn | null,
  what: string,
): Promise<Drawn> {
  const { source: { config }, text: { tokens }, looking } = job;
  const engine = await NativeEngine.open(job.source, {
    threads: job.threads,
    context: tokens.length,
    kvBlocks: blocksFor(tokens.length, SPAN, 2),
    maxContexts: 3,
    maxStepTokens: CHUNK,
    maxStepSequences: 1,
    index: { ...index, lshTokens: index.lsh === null ? 0 : 2 * (tokens.length + 128) },
  });
  try {
    const context = engine.createContext();
    const progress = new Progress(what, looking.positions.length);
    progress.show(0, "reading");
    // Geometry wants the keys of all layers; the other figures look at some.
    const layers = Array.from({ length: config.layers }, (_, i) => i);
    let done: Drawn | null = known;
    if (done === null) {
      const reading = await read(engine, context, tokens, config, { ...looking, layers });
      done = {
        reading,
        attended: [],
        engine: engine.info().text,
        ...await drawRest(engine, context, reading, job),
      };
    } else await readOnly(engine, context, tokens);
    let seen = 0;
    const attended: Attended[] = await attendAll(
      engine,
      context,
      done.reading,
      strategies,
      looking,
      config,
      () => progress.show(++seen),
    );
    return { ...done, attended: [...done.attended, ...attended] };
  } finally {
    await engine.close();
  }
}

/** Layers of --layers. @throws {Failure} `invalid` where one never samples */
export function chosenLayers(text: string, layers: number, dense: readonly number[]): number[] {
  const chosen = layerList(text, layers);
  const exact = chosen.find((layer) => dense.includes(layer));
  if (chosen.length > 0 && exact === undefined) return chosen;
  const what = exact === undefined
    ? `--layers is "${text}"`
    : `--layers names ${exact}, which is exact`;
  throw new Failure(
    "invalid",
    `${what}: nothing to draw. Name layers that --dense-layers does not.`,
  );
}

type Flags = ReturnType<typeof parse>;

function lookingOf(
  flags: Flags,
  layers: number,
  dense: readonly number[],
  tokens: number,
): Looking {
  return {
    layers: flags.layers === undefined
      ? spreadLayers(layers, dense, LAYERS)
      : chosenLayers(flags.layers, layers, dense),
    positions: positionsOf(tokens, wholeNumber("positions", flags.positions, 1), SPAN),
    draws: wholeNumber("draws", flags.draws, 1),
  };
}

async function main(flags: Flags): Promise<string> {
  const source = await openModel(flags.model);
  const { config } = source;
  const common = commonOf(flags, config, LEAST_ROWS);
  const specs = parseStrategies(flags.strategies, BigInt(common.seed));
  checkSampling(config, specs);
  await makeOut(flags.out);
  const most = flags.tokens === undefined ? config.context : wholeNumber("tokens", flags.tokens, 2);
  const [text] = await withText(
    source,
    (text) => readTexts(flags.text, text, Math.min(most, config.context), SPAN),
  );
  const looking = lookingOf(flags, config.layers, common.denseLayers, text!.tokens.length);
  // The first engine makes the figures that need a sketch and the true scores.
  const groups = groupByEngine(specs, { ...common, yardsticks: true });
  groups[0]!.index = { ...groups[0]!.index, sketchBits: groups[0]!.index.sketchBits || 2 };
  const threads = wholeNumber("threads", flags.threads, 0);
  const job: Job = { source, text: text!, looking, threads, ...common };
  let drawn: Drawn | null = null;
  for (const [i, group] of groups.entries()) {
    drawn = await runGroup(job, group, drawn, `Engine ${i + 1} of ${groups.length}: position`);
  }
  return await writeFigures(flags.out, drawn!, {
    model: source.name,
    text: text!.name,
    command: ["deno task figures", ...Deno.args].join(" "),
    shape: config,
    sketchBits: groups[0]!.index.sketchBits,
    looking,
    ...common,
  });
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
