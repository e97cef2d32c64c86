// SPDX-License-Identifier: Apache-2.0
// Constrained answers through the server as a user starts it: whatever the weights, they fit.
import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { TestServer } from "../fixtures/server.ts";

const Person = z.object({
  name: z.string().max(20),
  age: z.number().int().min(0).max(150),
  tags: z.array(z.enum(["tall", "old", "kind"])).max(3),
  home: z.object({ street: z.string().max(30), floor: z.number().nullable() }),
});

Deno.test("constrained answers hold whatever the weights", async (t) => {
  await using server = new TestServer(["--memory", "2GiB"]);
  const url = await server.ready();
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "Who is Ada?" }];
  const model = "recall";

  await t.step("the client's zod helper gets its object, whole and streamed", async () => {
    const format = zodResponseFormat(Person, "person");
    for (let seed = 0; seed < 4; seed++) {
      const asked = { model, messages, seed, temperature: seed / 2, response_format: format };
      const answer = await openai.chat.completions.parse({ ...asked, max_tokens: 400 });
      assertEquals(answer.choices[0]!.finish_reason, "stop");
      Person.parse(answer.choices[0]!.message.parsed);
      const stream = openai.chat.completions.stream({ ...asked, max_tokens: 400 });
      Person.parse((await stream.finalChatCompletion()).choices[0]!.message.parsed);
    }
  });

  await t.step("requests with and without constraints ride in one batch", async () => {
    const codes = await Promise.all(Array.from({ length: 6 }, async (_, seed) => {
      const constrained = seed % 2 === 0;
      const answer = await openai.completions.create({
        model,
        prompt: "The code is",
        max_tokens: 12,
        seed,
        ...(constrained ? { guided_regex: "[A-F]{2}-\\d{4}" } : {}),
      } as OpenAI.CompletionCreateParamsNonStreaming);
      return constrained ? answer.choices[0]!.text : null;
    }));
    for (const code of codes) if (code !== null) assert(/^[A-F]{2}-\d{4}$/.test(code), code);
  });

  await t.step(
    "four choices under a grammar, with log-probabilities of the model itself",
    async () => {
      const answer = await openai.chat.completions.create({
        model,
        messages,
        n: 4,
        logprobs: true,
        top_logprobs: 2,
        grammar: 'root ::= ("left" | "right") [!?]',
      } as OpenAI.ChatCompletionCreateParamsNonStreaming);
      for (const { message, logprobs } of answer.choices) {
        assert(/^(left|right)[!?]$/.test(message.content!), message.content!);
        const [first] = logprobs!.content!;
        assert(first!.top_logprobs[0]!.logprob >= first!.logprob - 1e-3);
      }
    },
  );

  await t.step(
    "json_object cut by max_tokens says length, a schema that can't be kept is a 400",
    async () => {
      const cut = await openai.chat.completions.create({
        model,
        messages,
        max_tokens: 1,
        response_format: { type: "json_object" },
      });
      assertEquals(cut.choices[0]!.finish_reason, "length");
      assert(cut.choices[0]!.message.content!.startsWith("{"));
      const refused = await assertRejects(
        () =>
          Promise.resolve(openai.chat.completions.create({
            model,
            messages,
            response_format: {
              type: "json_schema",
              json_schema: { name: "x", schema: { type: "array", uniqueItems: true } },
            },
          })),
        OpenAI.BadRequestError,
      );
      assertEquals(refused.param, "response_format.json_schema.schema");
      assert(refused.message.includes('"uniqueItems"'), refused.message);
    },
  );
});
