// SPDX-License-Identifier: Apache-2.0
// How long a prompt may take at most, whatever comes after it.
import { assert, assertEquals } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { Random } from "../../fixtures/fake_model.ts";
import { setUp } from "./world.ts";
import { VirtualClock } from "./virtual_clock.ts";

/** Milliseconds of a token of a prompt, and of one who decodes. */
interface Machine {
  tokenMs: number;
  decodeMs: number;
}

interface Stream {
  promptTokens: () => number;
  maxTokens: () => number;
}

const STEP_MS = 50;

/**
 * Milliseconds until the last of some prompts, which came before a stream of others that never lets the server
 * rest, has its first token.
 */
async function timeBefore(
  prompts: readonly number[],
  { tokenMs, decodeMs }: Machine,
  stream: Stream,
): Promise<number> {
  const clock = new VirtualClock();
  let answered = Infinity;
  const world = setUp({
    context: 32_768,
    kvBlocks: 4096,
    maxContexts: 64,
    maxStepTokens: 2048,
    maxStepSequences: 64,
    during(_, sequences) {
      const decoding = sequences.filter(({ tokens }) => tokens.length === 1).length;
      const tokens = sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
      clock.advance(1 + decodeMs * decoding + tokenMs * (tokens - decoding));
      if (answered === Infinity) fill();
    },
  }, { clock, stepMs: STEP_MS, maxWaiting: 16, maxWaitingTokens: 1e9 });
  const old = prompts.map((promptTokens) => world.submit({ promptTokens, maxTokens: 4 }));
  old.at(-1)!.output.onToken = () => answered = Math.min(answered, clock.now());
  /** As many as the server takes. */
  function fill(): void {
    try {
      for (;;) {
        world.submit({ promptTokens: stream.promptTokens(), maxTokens: stream.maxTokens() });
      }
    } catch (error) {
      assertEquals((error as Failure).kind, "too_many_requests");
    }
  }
  fill();
  while (answered === Infinity) await new Promise((done) => setTimeout(done));
  await world.scheduler.close();
  assertEquals(world.engine.violations, []);
  return answered;
}

Deno.test("a prompt runs with a share of the time, whatever comes after it: 3/4 of a quarter at least", async () => {
  const random = new Random(5);
  const streams: Record<string, Stream> = {
    "short prompts, long answers": { promptTokens: () => 20, maxTokens: () => 200 },
    "short prompts, short answers": { promptTokens: () => 200, maxTokens: () => 2 },
    "long prompts": { promptTokens: () => random.integer(3000, 20_000), maxTokens: () => 8 },
    "all kinds": {
      promptTokens: () => Math.round(10 * 3000 ** random.next()),
      maxTokens: () => random.integer(1, 64),
    },
  };
  for (const [name, stream] of Object.entries(streams)) {
    for (const decodeMs of [0.5, 3]) {
      const machine = { tokenMs: 0.4, decodeMs };
      for (const prompts of [[24_000], [8000, 30, 12_000]]) {
        const took = await timeBefore(prompts, machine, stream);
        const work = machine.tokenMs * prompts.reduce((sum, tokens) => sum + tokens);
        // Some steps until the speed is known, and one of 32 that measures decode.
        const most = 1000 + work / (0.75 * 0.25 * 31 / 32);
        assert(took <= most, `${name}, ${decodeMs} ms: ${prompts} took ${took} ms of ${most}`);
      }
    }
  }
});
