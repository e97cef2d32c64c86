// SPDX-License-Identifier: Apache-2.0
/** Random traces: requests that arrive, are read at different speeds, cancelled, and fail, all seeded. */
import { contextTokens, prepareJob, startGeneration, TokenTexts } from "../../../src/generate.ts";
import {
  type AttentionPolicy,
  EXACT_POLICY,
  SERVER_ATTENTION,
} from "../../../src/engine/attention.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import { NO_INDEX } from "../../../src/engine/settings.ts";
import { Failure } from "../../../src/errors.ts";
import { PRIORITIES } from "../../../src/scheduler/priority.ts";
import { Scheduler, type SchedulerOptions } from "../../../src/scheduler/scheduler.ts";
import type { Generation, GenerationEvent, GenerationRequest } from "../../../src/types.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import type { FakeOptions } from "../../fixtures/fake_options.ts";
import { HIDDEN, Random } from "../../fixtures/fake_model.ts";
import { BYTES } from "../../fixtures/fake_text.ts";
import { request } from "../../fixtures/requests.ts";
import { TraceSessions } from "./trace_sessions.ts";
import { VirtualClock } from "./virtual_clock.ts";

/** What a trace does with one request. The prompt's length tells the requests of a trace apart. */
export interface Plan {
  request: GenerationRequest;
  /** Step during which it is sent, and the one during which it is cancelled (or Infinity). */
  arrives: number;
  cancelled: number;
  /** Microtask turns that the reader rests after each event. */
  rest: number;
  /** Events after which the reader leaves. */
  leaves: number;
}

/** How a request ended, and what it had given until then. */
export interface Ending {
  plan: Plan;
  kind: "finished" | "cancelled" | "refused" | "failed";
  failure: Failure | null;
  events: GenerationEvent[];
  /** Steps that it took part in. */
  steps: number[];
  /** Steps and milliseconds until it was sent. */
  arrived: { step: number; ms: number };
}

/** How a trace is played. */
export interface Script extends FakeOptions {
  /** Milliseconds that a token takes in a step. */
  tokenMs?: number;
  /** Sessions act, too. */
  sessions?: Random | null;
}

export interface Trace {
  engine: FakeEngine;
  scheduler: Scheduler;
  options: SchedulerOptions;
  endings: Ending[];
}

/** Every index, so that requests may sample as they like. */
const TRACE_POLICY: AttentionPolicy = {
  ...EXACT_POLICY,
  autoFrom: 100,
  verify: 0.5,
  index: { ...NO_INDEX, sketchBits: 2, lsh: { bits: 10, tables: 150 }, yardsticks: true },
};

export function randomLimits(random: Random): EngineLimits {
  return {
    vocabulary: 300,
    hidden: HIDDEN,
    context: random.pick([200, 300, 500]),
    kvBlocks: random.integer(2, 10),
    maxContexts: random.integer(1, 8),
    maxStepTokens: random.pick([2, 40, 130, 600]),
    maxStepSequences: random.integer(1, 8),
  };
}

/** A request with a prompt of this length, nearly always one that fits the limits. */
export function randomRequest(
  random: Random,
  length: number,
  limits: EngineLimits,
  documents: readonly Int32Array[],
) {
  const room = contextTokens(limits) - length;
  const asked = random.pick([null, 0, 1, 5, 20, 40, 70, 140]);
  const maxTokens = asked === null || random.chance(0.05) ? asked : Math.min(asked, room);
  const letters = () =>
    String.fromCharCode(
      ...Array.from({ length: random.integer(1, 2) }, () => random.integer(97, 122)),
    );
  return request({
    id: String(length),
    prompt: randomPrompt(random, length, documents),
    n: random.chance(0.3) ? random.integer(1, Math.min(3, limits.maxContexts)) : 1,
    sampling: { ...request().sampling, seed: BigInt(random.integer(0, 1000)) },
    maxTokens,
    minTokens: random.chance(0.2) ? Math.min(random.integer(0, 20), maxTokens ?? 20) : 0,
    stop: random.chance(0.5) ? [letters(), letters()] : [],
    stopTokens: random.chance(0.3) ? [random.integer(0, 255)] : [],
    ignoreEos: random.chance(0.2),
    skipSpecialTokens: random.chance(0.5),
    continuesPrompt: false,
    logprobs: random.chance(0.3) ? random.integer(0, 3) : null,
    ...(maxTokens === 0 && random.chance(0.5) ? { embed: true } : {}),
    scorePrompt: random.chance(0.2) ? random.integer(0, 3) : null,
    attention: {
      ...SERVER_ATTENTION,
      strategy: random.pick(["auto", "full", "sketch", "lsh", "oracle"] as const),
      seed: random.chance(0.5) ? BigInt(random.integer(0, 3)) : null,
    },
    timeoutSeconds: random.chance(0.1) ? random.integer(1, 3000) / 1000 : null,
    cacheScope: random.chance(0.8) ? "" : "another",
    priority: random.chance(0.7) ? "normal" : random.pick(PRIORITIES),
  });
}

/** Mostly the beginning of a document that other requests have too, and then a question of its own. */
function randomPrompt(random: Random, length: number, documents: readonly Int32Array[]) {
  const prompt = random.pick(documents).slice(0, length);
  const common = random.chance(0.5) ? length - random.integer(0, 20) : random.integer(0, length);
  for (let i = Math.max(0, common); i < length; i++) prompt[i] = random.integer(0, 255);
  return prompt;
}

export function randomPlans(random: Random, limits: EngineLimits, slow: boolean): Plan[] {
  const most = Math.min(contextTokens(limits) - 2, 300);
  const count = random.integer(1, 9);
  const documents = [0, 1].map(() =>
    Int32Array.from({ length: most }, () => random.integer(0, 255))
  );
  const lengths = new Set<number>();
  while (lengths.size < count) {
    lengths.add(random.chance(0.5) ? random.integer(1, 40) : random.integer(1, most));
  }
  return [...lengths].map((length) => ({
    request: randomRequest(random, length, limits, documents),
    arrives: random.chance(0.6) ? 0 : random.integer(0, 60),
    cancelled: random.chance(0.15) ? random.integer(0, 120) : Infinity,
    rest: slow && random.chance(0.3) ? random.integer(5, 120) : 0,
    leaves: random.chance(0.1) ? random.integer(0, 10) : Infinity,
  }));
}

async function readAll(generation: Generation, plan: Plan, ending: Ending): Promise<void> {
  try {
    if (plan.leaves === 0) return generation.cancel();
    for await (const event of generation) {
      ending.events.push(event);
      if (event.type === "done") ending.kind = "finished";
      else if (ending.events.length >= plan.leaves) break;
      for (let turn = 0; turn < plan.rest; turn++) await Promise.resolve();
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    ending.kind = "failed";
    ending.failure = error;
  }
}

/** Runs a trace until every request ended. Everything happens in microtasks, in a fixed order. */
export async function runTrace(
  plans: readonly Plan[],
  limits: EngineLimits,
  options: SchedulerOptions,
  { tokenMs = 1, sessions = null, ...script }: Script = {},
): Promise<Trace> {
  const clock = new VirtualClock();
  const endings = new Map<number, Ending>();
  const generations = new Map<number, Generation>();
  const readers: Promise<void>[] = [];
  const engine = new FakeEngine({
    ...limits,
    ...script,
    mostSteps: 60_000,
    during(step, sequences) {
      const there = new Set(sequences.map(({ promptTokens }) => promptTokens));
      for (const length of there) endings.get(length)!.steps.push(step);
      const tokens = sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
      clock.advance(2 + tokenMs * tokens);
      act(step);
      saver?.act();
    },
  });
  const scheduler = new Scheduler(engine, { ...options, clock });
  const saver = sessions === null ? null : new TraceSessions(engine, scheduler, sessions);
  const context = {
    scheduler,
    tokenizer: BYTES,
    texts: new TokenTexts(BYTES),
    undeliveredTokens: 6,
  };

  function send(plan: Plan): void {
    const length = plan.request.prompt.length;
    const ending: Ending = {
      plan,
      kind: "cancelled",
      failure: null,
      events: [],
      steps: [],
      arrived: { step: engine.steps.length, ms: clock.now() },
    };
    endings.set(length, ending);
    try {
      const spec = prepareJob(plan.request, limits, BYTES.endTokens, TRACE_POLICY);
      const generation = startGeneration(context, plan.request, spec);
      generations.set(length, generation);
      readers.push(readAll(generation, plan, ending));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      Object.assign(ending, { kind: "refused", failure: error });
    }
  }

  function act(step: number): void {
    for (const plan of plans) {
      const length = plan.request.prompt.length;
      if (plan.arrives <= step && !endings.has(length)) send(plan);
      if (plan.cancelled === step) {
        generations.get(length)?.cancel();
        generations.get(length)?.cancel();
      }
    }
  }

  // Requests that should arrive during a step that never comes are sent when all others have ended.
  for (let step = 0; endings.size < plans.length; step += 10) {
    act(step);
    await Promise.all(readers);
  }
  await Promise.all(readers);
  await (saver ?? new TraceSessions(engine, scheduler, new Random(0))).check();
  await scheduler.close();
  return { engine, scheduler, options, endings: [...endings.values()] };
}
