// SPDX-License-Identifier: Apache-2.0
/** Constrained requests through service and scheduler over the fake engine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { AnswerFormat } from "../../../src/constraint/compiler.ts";
import { Failure } from "../../../src/errors.ts";
import { ModelService } from "../../../src/service.ts";
import { FakeEngine, type FakeOptions } from "../../fixtures/fake_engine.ts";
import { FakeText } from "../../fixtures/fake_text.ts";
import { collect, failureOf, request, says, summarize } from "../../fixtures/requests.ts";

const asking = (format: AnswerFormat) => ({ format: { format, param: "guided" } });

async function answer(
  fields: Parameters<typeof request>[0],
  options: FakeOptions = {},
  use: (service: ModelService) => void = () => {},
) {
  const engine = new FakeEngine(options);
  const service = new ModelService();
  service.ready({ engine, text: new FakeText(), model: { id: "fake" } });
  const events = collect(service.generate(request({ maxTokens: 200, ...fields })));
  use(service);
  const summary = summarize(await events, fields?.n);
  await service.close();
  assertEquals(engine.violations, []);
  return summary;
}

Deno.test("whatever a model says, its answer fits, and ends when nothing may follow", async () => {
  const format = asking({ kind: "regex", regex: "[a-z]{3}-\\d{2}" });
  for (let prompt = 0; prompt < 5; prompt++) {
    const { texts, reasons, usage } = await answer({
      ...format,
      prompt: Int32Array.of(prompt + 9),
    });
    assert(/^[a-z]{3}-\d{2}$/.test(texts[0]!), texts[0]);
    // No end token was needed.
    assertEquals([reasons[0], usage!.completionTokens], ["stop", 6]);
  }
});

Deno.test("a model that says what it should is left alone, and may end where the answer may", async () => {
  const { texts, reasons } = await answer(
    asking({ kind: "regex", regex: "[a-z ]*" }),
    { next: says("free as a bird") },
  );
  assertEquals([texts[0], reasons[0]], ["free as a bird", "stop"]);
});

Deno.test("max_tokens cuts an answer, and the finish reason says so", async () => {
  const { texts, reasons } = await answer({
    ...asking({ kind: "regex", regex: "a{50}" }),
    maxTokens: 10,
  });
  assertEquals([texts[0], reasons[0]], ["a".repeat(10), "length"]);
});

Deno.test("each choice has its own place in the constraint", async () => {
  const { texts, reasons } = await answer({
    ...asking({ kind: "choice", texts: ["red", "green", "blue", "greenish"] }),
    n: 4,
  });
  for (const text of texts) assert(["red", "green", "blue", "greenish"].includes(text), text);
  assertEquals(reasons, ["stop", "stop", "stop", "stop"]);
});

Deno.test("min_tokens and ignore_eos bend no constraint", async () => {
  const format = asking({ kind: "regex", regex: "ab" });
  for (const fields of [{ minTokens: 20 }, { ignoreEos: true }]) {
    const { texts, reasons } = await answer({ ...format, ...fields });
    assertEquals([texts[0], reasons[0]], ["ab", "stop"]);
  }
});

Deno.test("a format that can't be followed is refused before anything runs", async () => {
  const service = new ModelService();
  service.ready({ engine: new FakeEngine(), text: new FakeText(), model: { id: "fake" } });
  const schema = { type: "object", patternProperties: { a: {} } };
  const failure = failureOf(() =>
    service.generate(request(asking({ kind: "schema", schema, strict: true })))
  );
  assertEquals([failure.kind, failure.param], ["invalid", "guided"]);
  assert(failure.message.startsWith('guided uses the keyword "patternProperties"'));
  await service.close();
});

Deno.test("a constraint that becomes too ambiguous fails its own request alone", async () => {
  const ambiguous = asking({ kind: "regex", regex: "(?:a{0,60}a{0,60}){0,60}b" });
  let other: Promise<unknown[]> | undefined;
  const failure = await assertRejects(
    () =>
      answer({ ...ambiguous, maxTokens: 190 }, { next: () => 97 }, (service) => {
        other = collect(service.generate(request()));
      }),
    Failure,
  );
  assert(/too many ways/.test(failure.message), failure.message);
  // A client that takes it for the server's fault would ask again.
  assertEquals(failure.kind, "invalid");
  assertEquals((await other!).length > 2, true);
});

Deno.test("a text that no token can go on with fails with a sentence", async () => {
  // The vocabulary of this engine ends before most bytes.
  const failure = await assertRejects(
    () =>
      answer({ ...asking({ kind: "regex", regex: "[xyz]" }), prompt: Int32Array.of(9) }, {
        vocabulary: 110,
      }),
    Failure,
  );
  assert(/No token of the model's vocabulary/.test(failure.message), failure.message);
});
