// SPDX-License-Identifier: Apache-2.0
/** Sampled attention as a user meets it: flags, requests, answers, usage, health. */
import OpenAI from "openai";
import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { documents4096 } from "../fixtures/documents.ts";
import { TestServer } from "../fixtures/server.ts";

const FLAGS = ["--memory", "1GiB", "--index", "sketch,lsh:8x75", "--auto-from", "2000"];

Deno.test("a server with indexes samples long prompts, answers them rightly and says what it read", async (t) => {
  await using server = new TestServer([...FLAGS, "--verify", "0.5", "--budget", "0.1"]);
  const url = await server.ready();
  assertStringIncludes(server.log, "exactly up to 2,000 tokens of prompt, beyond them by sketch");
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const document = (await documents4096()).find((d) => d.family === "single_prose")!;
  const { question, answer } = document.questions[0]!;
  const ask = async (sounder: object, content = document.document + question) => {
    const messages = [{ role: "user" as const, content }];
    const body = { model: "recall", temperature: 0, seed: 3, max_tokens: 100, messages, sounder };
    const { choices, usage } = await openai.chat.completions.create(body);
    // deno-lint-ignore no-explicit-any
    return { text: choices[0]!.message.content, used: (usage as any).sounder };
  };

  await t.step("each strategy gives the answer, and reads a part of the rows", async () => {
    for (const [asked, strategy] of [["auto", "sketch"], ["sketch", "sketch"], ["lsh", "lsh"]]) {
      const { text, used } = await ask({ attention: asked });
      assertEquals([text, used.attention], [answer, strategy]);
      assertLess(used.rows_read, 0.5 * used.rows_total);
      assertLess(used.keys_read, used.keys_total);
      assert(used.effective_samples > 1 && used.standard_error > 0, JSON.stringify(used));
    }
    const { text, used } = await ask({ attention: "full" });
    assertEquals([text, used.keys_read, used.rows_read], [answer, used.keys_total, null]);
  });

  await t.step(
    "a short prompt attends exactly, and the same request is answered alike",
    async () => {
      const short = await ask({}, "What is the code?");
      assertEquals(short.used.attention, "full");
      const asked = { attention: "sketch", seed: 5, budget: 0.07 };
      assertEquals(await ask(asked), await ask(asked));
    },
  );

  await t.step("verified tokens show in health with a small error", async () => {
    const { verify } = await (await fetch(`${url}/health`)).json();
    assert(verify.tokens > 5, JSON.stringify(verify));
    assertLess(verify.mean_error, 0.2);
    assert(verify.largest_error >= verify.mean_error);
  });

  await t.step("what the server has no index for is refused with the flag", async () => {
    const error = await assertRejects(() => ask({ attention: "topk" }), OpenAI.BadRequestError);
    assertStringIncludes(error.message, "Start the server with --experimental");
  });
});
