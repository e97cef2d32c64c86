// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../src/cli.ts";
import { Failure } from "../../src/errors.ts";
import { planFor, planText } from "../../src/plan.ts";
import { openModel } from "../../src/model/source.ts";

const RECALL = new URL("../../models/recall", import.meta.url).pathname;
const GIB = 2 ** 30;
const MACHINE = { memoryTotal: 24 * GIB, memoryAvailable: 20 * GIB, cores: 2 };
const { config } = await openModel(RECALL);

function plan(...args: string[]) {
  return planFor(config, parseCommandLine(args, { model: RECALL, apiKey: null }), MACHINE);
}

Deno.test("what is planned stays within the memory that may be used", () => {
  for (const memory of ["256MiB", "1GiB", "50%", "16GiB"]) {
    const { fit, memory: budget } = plan("--memory", memory);
    assert(fit.weightBytes + fit.workspaceBytes + fit.kvBytes <= budget, memory);
    assert(fit.kvBlocks > 0);
  }
});

Deno.test("the context is the model's, what was asked for, or what memory holds", () => {
  assertEquals(plan().settings.context, config.context);
  assertEquals(plan("--context", "4096").settings.context, 4096);
  assert(plan("--memory", "160MiB").settings.context < config.context);
});

Deno.test("what cannot fit is refused with figures and the flag to change", () => {
  const weights = assertThrows(() => plan("--memory", "8MiB"), Failure, "--memory");
  assertEquals(weights.kind, "memory");
  assertThrows(() => plan("--memory", "12 parsecs"), Failure, "12 parsecs");
  assertThrows(() => plan("--memory", "160MiB", "--context", "1000000"), Failure, "--context");
});

Deno.test("the plan says weights, bytes a token, blocks and how many requests fit", () => {
  const text = planText(config, plan("--memory", "1GiB"));
  for (const word of ["weights", "a token", "blocks", "at once", "2 cores"]) {
    assertStringIncludes(text, word);
  }
});
