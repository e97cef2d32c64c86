// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { NO_SAMPLED } from "../../../src/generate/sampled_usage.ts";
import { Meter } from "../../../src/generate/meter.ts";
import type { GenerationTiming, Observer } from "../../../src/observer.ts";
import { ModelService } from "../../../src/service.ts";
import type { Usage } from "../../../src/types.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { FakeText } from "../../fixtures/fake_text.ts";
import { collect, request, says } from "../../fixtures/requests.ts";

/** Writes down what it is told. */
class Notes implements Observer {
  readonly told: unknown[][] = [];
  steps = 0;
  step = () => this.steps++;
  prompt = (...figures: unknown[]) => this.told.push(["prompt", ...figures]);
  firstToken = (ms: number) => this.told.push(["firstToken", ms]);
  token = (ms: number | null) => this.told.push(["token", ms]);
  choiceEnded = (outcome: string) => this.told.push(["choiceEnded", outcome]);
  preempted = () => this.told.push(["preempted"]);
  ended = (usage: Readonly<Usage>, timing: GenerationTiming) =>
    this.told.push(["ended", usage.completionTokens, timing]);
  verified = (error: number) => this.told.push(["verified", error]);
}

const USAGE: Usage = {
  promptTokens: 9,
  completionTokens: 2,
  cachedTokens: 4,
  attention: "full",
  keysRead: 0,
  keysTotal: 0,
  sampled: NO_SAMPLED,
};

function metered(choices: number) {
  const notes = new Notes();
  const clock = { now: 100 };
  const meter = new Meter(notes, USAGE, choices, () => clock.now);
  return { notes, clock, meter };
}

Deno.test("times run from submission to the first token, then from token to token of a choice", () => {
  const { notes, clock, meter } = metered(2);
  const ticks: [number, () => void][] = [
    [110, () => meter.started()],
    [130, () => meter.token(0)],
    [131, () => meter.token(1)],
    [140, () => meter.token(0)],
    [141, () => meter.finish(0, "stop")],
    [145, () => meter.finish(1, "length")],
  ];
  for (const [at, act] of ticks) {
    clock.now = at;
    act();
  }
  assertEquals(meter.firstTokenMs, 30);
  assertEquals(notes.told, [
    ["prompt", 9, 4],
    ["firstToken", 30],
    ["token", null],
    ["token", null],
    ["token", 10],
    ["choiceEnded", "stop"],
    ["choiceEnded", "length"],
    ["ended", 2, { queueMs: 10, prefillMs: 20, decodeMs: 10, totalMs: 45 }],
  ]);
});

Deno.test("a request that stops ends once, for those of its choices that had not", () => {
  const { notes, meter } = metered(3);
  meter.token(0);
  meter.finish(0, "stop");
  meter.preempted();
  meter.stop("abort");
  meter.stop("error");
  const outcomes = notes.told.filter(([what]) => what === "choiceEnded").map(([, why]) => why);
  assertEquals(outcomes, ["stop", "abort", "abort"]);
  assertEquals(notes.told.filter(([what]) => what === "preempted").length, 1);
  const [, , timing] = notes.told.find(([what]) => what === "ended")!;
  assertEquals((timing as GenerationTiming).queueMs, null);
  assertEquals(notes.told.filter(([what]) => what === "ended").length, 1);
});

Deno.test("a service tells its observer of steps, tokens and ends", async () => {
  const notes = new Notes();
  const service = new ModelService({ observer: notes });
  service.ready({
    engine: new FakeEngine({ next: says("hi!") }),
    text: new FakeText(),
    model: { id: "fake" },
  });
  const generation = service.generate(request());
  await collect(generation);
  assertEquals(generation.usage.completionTokens, 4);
  assertEquals(generation.firstTokenMs! >= 0, true);
  const left = service.generate(request());
  left.cancel();
  assertEquals(left.firstTokenMs, null);
  const names = notes.told.map(([what]) => what);
  assertEquals(names.filter((name) => name === "token").length, 4);
  assertEquals(names.filter((name) => name === "firstToken").length, 1);
  const outcomes = notes.told.filter(([what]) => what === "choiceEnded").map(([, why]) => why);
  assertEquals(outcomes, ["stop", "abort"]);
  assertEquals(notes.steps >= 4, true);
  await service.close();
});
