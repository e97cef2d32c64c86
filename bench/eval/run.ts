// SPDX-License-Identifier: Apache-2.0
/**
 * Asks the questions of one document: the document is computed once and exactly, then forked for every question
 * and strategy, and all forks decode together.
 */
import {
  type AttentionParams,
  type ContextId,
  type Engine,
  GREEDY,
  LAST_SAMPLED,
  type SequenceResult,
  type StepSequence,
} from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import type { PreparedDocument } from "./prepare.ts";
import { exactUntil, type StrategySpec } from "./strategies.ts";

/** A: the reply is sampled. B: the question too. The document is exact in both. */
export type Setup = "A" | "B";

/** One reply, and what it read. Figures are means over its tokens, null where nothing was sampled. */
export interface Reply {
  id: string;
  family: string;
  question: number;
  setup: Setup;
  strategy: string;
  text: string;
  exact: boolean;
  /** Share of the values that occur in the reply. */
  recall: number;
  tokens: number;
  /** Keys read of all, mean over layers and heads. */
  keysShare: number;
  /** Of the keys that there were to choose from: keys read for a query head, rows read for a KV head. */
  chosenKeys: number | null;
  chosenRows: number | null;
}

const QUIET = { sampling: null, choice: 0, alternatives: 0 };

/** One fork that decodes. */
interface Job {
  context: ContextId;
  /** What the next step appends. */
  next: ArrayLike<number>;
  attention: NonNullable<StepSequence["attention"]> | null;
  promptTokens: number;
  made: number[];
  most: number;
  figures: SequenceResult[];
  reply: Omit<
    Reply,
    "text" | "exact" | "recall" | "tokens" | "keysShare" | "chosenKeys" | "chosenRows"
  >;
  answer: { answer: string; values: string[] };
}

function succeeded(result: SequenceResult): SequenceResult {
  if (result.failure === null) return result;
  throw new Failure("engine", `A step of the evaluation failed: ${result.failure}.`);
}

/** Appends tokens exactly, in chunks. Returns the result of the last step. */
async function append(
  engine: Engine,
  context: ContextId,
  tokens: ArrayLike<number>,
  more: Pick<StepSequence, "promptTokens" | "attention"> & { samples: boolean },
): Promise<SequenceResult> {
  const all = Int32Array.from(tokens);
  let last: SequenceResult | undefined;
  for (let at = 0; at < all.length; at += engine.limits.maxStepTokens) {
    const part = all.subarray(at, at + engine.limits.maxStepTokens);
    const isLast = at + part.length === all.length;
    const { samples, ...rest } = more;
    const sampling = isLast && samples ? GREEDY : null;
    const { sequences } = await engine.step([
      { ...QUIET, context, tokens: part, ...rest, sampling },
    ]);
    last = succeeded(sequences[0]!);
  }
  return last!;
}

/** As many jobs as fit one step, by sequences and by tokens. */
function batchOf(engine: Engine, open: readonly Job[]): Job[] {
  const { maxStepSequences, maxStepTokens } = engine.limits;
  const batch: Job[] = [];
  let tokens = 0;
  for (const job of open) {
    tokens += job.next.length;
    if (batch.length === maxStepSequences || tokens > maxStepTokens) break;
    batch.push(job);
  }
  return batch;
}

/** Decodes all jobs to their ends. */
async function decode(engine: Engine, jobs: readonly Job[], ends: ReadonlySet<number>) {
  const isOpen = ({ made, most }: Job) => made.length < most && !ends.has(made.at(-1) ?? -1);
  let open = jobs.filter(isOpen);
  while (open.length > 0) {
    const batch = batchOf(engine, open);
    const { sequences } = await engine.step(batch.map((job) => ({
      ...QUIET,
      context: job.context,
      tokens: job.next,
      promptTokens: job.promptTokens,
      sampling: GREEDY,
      ...(job.attention === null ? {} : { attention: job.attention }),
    })));
    sequences.forEach((result, i) => {
      const job = batch[i]!;
      job.made.push(succeeded(result).token);
      job.figures.push(result);
      job.next = [LAST_SAMPLED];
    });
    open = [...open.slice(batch.length), ...batch].filter(isOpen);
  }
}

/** Share of the values that occur in a reply (RULER's string match). */
export function recallOf(text: string, values: readonly string[]): number {
  if (values.length === 0) return 0;
  return values.filter((value) => text.includes(value)).length / values.length;
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function finish(job: Job, text: TextProcessor, ends: ReadonlySet<number>): Reply {
  const kept = job.made.filter((token) => !ends.has(token));
  const reply = text.tokenizer.decode(kept, { skipSpecial: true });
  const sampled = job.figures.flatMap(({ sampled }) => sampled === null ? [] : [sampled]);
  return {
    ...job.reply,
    text: reply,
    exact: reply === job.answer.answer,
    recall: recallOf(reply, job.answer.values),
    tokens: job.made.length,
    keysShare: mean(job.figures.map(({ keysRead, keysTotal }) => keysRead / keysTotal)) ?? 1,
    chosenKeys: mean(sampled.map(({ chosenKeys, offloaded }) => chosenKeys / offloaded)),
    chosenRows: mean(sampled.map(({ chosenRows, offloaded }) => chosenRows / offloaded)),
  };
}

/** What {@linkcode askDocument} is to run. */
export interface Questioning {
  strategies: readonly StrategySpec[];
  setups: readonly Setup[];
}

/** The attention of one fork: draws differ from question to question, and not between strategies. */
function attentionOf(params: AttentionParams, question: number, from: number): Job["attention"] {
  if (params.strategy === "full") return null;
  return { ...params, seed: params.seed * 64n + BigInt(question), from, verify: false };
}

/** Contexts of one document, freed together. */
class Contexts implements Disposable {
  readonly #made: ContextId[] = [];

  constructor(readonly engine: Engine) {}

  create(): ContextId {
    return this.#kept(this.engine.createContext());
  }

  fork(context: ContextId, tokens: number): ContextId {
    return this.#kept(this.engine.forkContext(context, tokens));
  }

  #kept(context: ContextId): ContextId {
    this.#made.push(context);
    return context;
  }

  [Symbol.dispose](): void {
    for (const context of this.#made) this.engine.freeContext(context);
  }
}

/** The forks that answer one question. */
async function jobsOf(
  contexts: Contexts,
  root: ContextId,
  document: PreparedDocument,
  question: number,
  { strategies, setups }: Questioning,
): Promise<Job[]> {
  const { shared, most } = document;
  const prompt = document.prompts[question]!;
  const job = (setup: Setup, { name, params }: StrategySpec, from: number) => ({
    // Not the question's end: lsh tables would grow by a segment of a few keys in every fork.
    promptTokens: shared,
    answer: document.questions[question]!,
    most: most[question]!,
    figures: [],
    attention: attentionOf(params, question, from),
    reply: { id: document.id, family: document.family, question, setup, strategy: name },
  });
  const rest = prompt.subarray(shared);
  const jobs: Job[] = [];
  if (setups.includes("B")) {
    for (const spec of strategies) {
      const context = contexts.fork(root, shared);
      jobs.push({ ...job("B", spec, shared), context, next: rest, made: [] });
    }
  }
  if (setups.includes("A")) {
    const asked = contexts.fork(root, shared);
    const { token } = await append(contexts.engine, asked, rest, {
      promptTokens: shared,
      samples: true,
    });
    for (const spec of strategies) {
      const context = contexts.fork(asked, prompt.length);
      jobs.push({ ...job("A", spec, prompt.length), context, next: [token], made: [token] });
    }
  }
  return jobs;
}

/** Answers every question of a document with every strategy in every set-up. */
export async function askDocument(
  engine: Engine,
  text: TextProcessor,
  document: PreparedDocument,
  questioning: Questioning,
): Promise<Reply[]> {
  const ends = new Set(text.tokenizer.endTokens);
  using contexts = new Contexts(engine);
  const root = contexts.create();
  const { prompts: [prompt], shared } = document;
  await append(engine, root, prompt!.subarray(0, shared), {
    promptTokens: shared,
    samples: false,
    ...exactUntil(shared, questioning.strategies),
  });
  const jobs: Job[] = [];
  for (const question of document.questions.keys()) {
    jobs.push(...await jobsOf(contexts, root, document, question, questioning));
  }
  await decode(engine, jobs, ends);
  return jobs.map((job) => finish(job, text, ends));
}
