// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { GREEDY, type StepSequence } from "../../src/engine/engine.ts";
import { setToken } from "../../src/constraint/token_set.ts";
import { RECALL, TestEngine } from "../fixtures/native_engine.ts";

Deno.test("greedy and drawn tokens are allowed ones; a mask that allows none fails its sequence alone", async () => {
  await using test = await TestEngine.open(RECALL);
  const { vocabulary } = test.engine.limits;
  const maskOf = (...tokens: number[]) => {
    const mask = new Uint32Array(Math.ceil(vocabulary / 32));
    for (const token of tokens) setToken(mask, token);
    return mask;
  };
  const allowed = [7, 31, 32, vocabulary - 1];
  for (let seed = 0n; seed < 12n; seed++) {
    using masked = test.context();
    using free = test.context();
    using stuck = test.context();
    const sampling = { ...GREEDY, temperature: seed === 0n ? 0 : 1.5, seed };
    const sequence = (context: number, mask: Uint32Array | null): StepSequence => ({
      context,
      tokens: [65, 66, 67],
      sampling,
      allowed: mask,
      choice: 0,
      promptTokens: 3,
      alternatives: 3,
    });
    const { sequences } = await test.engine.step([
      sequence(stuck.id, maskOf()),
      sequence(masked.id, maskOf(...allowed)),
      sequence(free.id, null),
    ]);
    const [none, some, all] = sequences;
    assertEquals([none!.failure, none!.token], ["no_token", -1]);
    assertEquals([some!.failure, all!.failure], [null, null]);
    assert(allowed.includes(some!.token), String(some!.token));
    // Alternatives and log-probabilities are those of the model, mask or not.
    assertEquals(some!.alternatives, all!.alternatives);
    if (seed === 0n) assertEquals(all!.token, all!.alternatives[0]!.token);
    assertEquals(test.engine.contextLength(stuck.id), 0);
  }
});
