// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { HEAD_START_MS } from "../../../src/scheduler/priority.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import type { SchedulerOptions } from "../../../src/scheduler/scheduler.ts";
import { Random } from "../../fixtures/fake_model.ts";
import { summarize, type Summary } from "../../fixtures/requests.ts";
import { type Ending, randomLimits, randomPlans, runTrace, type Trace } from "./trace.ts";

interface SceneOptions {
  slow?: boolean;
  failing?: boolean;
  feelsChunks?: boolean;
  /** Everyone has the same priority. */
  equal?: boolean;
}

interface Scene extends SceneOptions {
  limits: EngineLimits;
  options: SchedulerOptions;
  trace: Trace;
}

async function randomScene(
  seed: number,
  { slow = false, failing = false, feelsChunks = false, equal = false }: SceneOptions,
): Promise<Scene> {
  const random = new Random(seed);
  const limits = randomLimits(random);
  // Room for two tokens of a prompt beside everyone who decodes.
  if (feelsChunks) limits.maxStepTokens = Math.max(limits.maxStepTokens, limits.maxContexts + 3);
  const options = {
    maxWaiting: random.integer(0, 9),
    reservedTokens: random.pick([1, 16, 200]),
    deterministic: feelsChunks,
    prefixCache: random.chance(0.7),
  };
  const plans = randomPlans(random, limits, slow);
  if (equal) { for (const { request } of plans) request.priority = "normal"; }
  const script = {
    feelsChunks,
    tokenMs: random.pick([0, 0.1, 1, 10]),
    sessions: slow && random.chance(0.5) ? random : null,
    cancelTooLate: () => random.chance(0.3),
    ...(failing
      ? {
        failStep: () => random.chance(0.01) ? new Error("scripted") : null,
        failSequence: () =>
          random.chance(0.01)
            ? random.pick(["not_finite", "out_of_blocks", "out_of_memory"] as const)
            : null,
      }
      : {}),
  };
  return { limits, options, feelsChunks, trace: await runTrace(plans, limits, options, script) };
}

function eachScene(
  count: number,
  scenes: SceneOptions,
  check: (scene: Scene) => unknown,
) {
  return async () => {
    for (let seed = 0; seed < count; seed++) {
      try {
        await check(await randomScene(seed, scenes));
      } catch (error) {
        throw new Error(`Trace ${seed} failed.`, { cause: error });
      }
    }
  };
}

function checkEngine({ limits, trace: { engine, scheduler } }: Scene): void {
  assertEquals(engine.violations, []);
  assertEquals(engine.usage(), { kvBlocksFree: limits.kvBlocks, contexts: 0 });
  assertEquals([scheduler.running, scheduler.waiting], [0, 0]);
}

/** The events of a request that runs alone. */
async function alone(
  ending: Ending,
  { limits, options, feelsChunks = false }: Scene,
): Promise<Summary> {
  const plan = {
    ...ending.plan,
    request: { ...ending.plan.request, timeoutSeconds: null },
    arrives: 0,
    cancelled: Infinity,
    rest: 0,
    leaves: Infinity,
  };
  const { endings } = await runTrace([plan], limits, options, { feelsChunks });
  assertEquals(endings[0]!.kind, "finished");
  return contents(endings[0]!);
}

/** All that a request gave but for how much of it was cached. */
function contents({ events, plan }: Ending): Summary {
  const summary = summarize(events, plan.request.n);
  return {
    ...summary,
    usage: summary.usage === null ? null : { ...summary.usage, cachedTokens: 0 },
  };
}

function assertBegins(actual: Summary, whole: Summary): void {
  actual.texts.forEach((text, choice) => assert(whole.texts[choice]!.startsWith(text)));
  actual.tokens.forEach((tokens, choice) =>
    assertEquals(tokens, whole.tokens[choice]!.slice(0, tokens.length))
  );
  actual.reasons.forEach((reason, choice) => assertEquals(reason, whole.reasons[choice]));
}

async function checkEndings(scene: Scene): Promise<void> {
  for (const ending of scene.trace.endings) {
    if (ending.kind === "refused") {
      assert(["too_many_requests", "context_length"].includes(ending.failure!.kind));
      continue;
    }
    const { leaves, cancelled } = ending.plan;
    if (ending.kind === "cancelled") assert(leaves < Infinity || cancelled < Infinity);
    const whole = await alone(ending, scene);
    const actual = contents(ending);
    if (ending.kind === "finished") assertEquals(actual, whole);
    else assertBegins(actual, whole);
  }
}

Deno.test(
  "in any trace every request ends, gives what it gives alone, and no block is lost or lacking",
  eachScene(1000, { slow: true }, async (scene) => {
    checkEngine(scene);
    assertEquals(scene.trace.engine.outOfBlocks, 0);
    for (const { kind, failure } of scene.trace.endings) {
      if (kind === "failed") assertEquals(failure!.kind, "timeout");
    }
    await checkEndings(scene);
  }),
);

Deno.test(
  "in deterministic traces every token is fed as it is fed alone",
  eachScene(200, { slow: true, feelsChunks: true }, async (scene) => {
    checkEngine(scene);
    await checkEndings(scene);
  }),
);

Deno.test(
  "when steps and sequences fail, the others give what they give alone, and no block is lost",
  eachScene(200, { slow: true, failing: true }, async (scene) => {
    checkEngine(scene);
    for (const { kind, failure } of scene.trace.endings) {
      if (kind === "failed") assert(["engine", "memory", "timeout"].includes(failure!.kind));
    }
    await checkEndings(scene);
  }),
);

Deno.test(
  "the oldest request takes part in the steps again and again until it ends",
  eachScene(300, { equal: true }, ({ limits, trace }) => {
    // With so many sequences, each is served again after so many steps at the latest.
    const most = Math.ceil(
      limits.maxContexts / Math.min(limits.maxStepSequences, limits.maxStepTokens),
    );
    let olderEnded = -1;
    for (const { steps } of trace.endings) {
      const own = steps.filter((step) => step > olderEnded);
      if (own.length === 0) continue;
      if (olderEnded >= 0) assert(own[0]! - olderEnded <= most + 2, `starts after ${own[0]}`);
      own.slice(1).forEach((step, i) => assert(step - own[i]! <= most + 2, `waits until ${step}`));
      olderEnded = own.at(-1)!;
    }
  }),
);

Deno.test(
  "whoever waits, waits for someone whose place is before its own, or who came before it",
  eachScene(300, {}, ({ limits, trace: { endings } }) => {
    const most = 2 + Math.ceil(
      limits.maxContexts / Math.min(limits.maxStepSequences, limits.maxStepTokens),
    );
    const place = ({ arrived, plan }: Ending) => arrived.ms - HEAD_START_MS[plan.request.priority];
    for (const [i, waiting] of endings.entries()) {
      // Nobody who was admitted is put out for someone who comes later.
      const before = endings.filter((other, j) =>
        other !== waiting && (place(other) <= place(waiting) || j < i)
      );
      // In steps since it came or was served last, someone before it must have been there.
      let last = waiting.arrived.step;
      for (const step of waiting.steps) {
        for (let idle = last + most + 1; idle < step; idle++) {
          const reason = before.some(({ arrived, steps }) =>
            arrived.step <= idle && steps.length > 0 && steps.at(-1)! >= idle - most
          );
          assert(reason, `nobody is before it in step ${idle}`);
        }
        last = step;
      }
    }
  }),
);
