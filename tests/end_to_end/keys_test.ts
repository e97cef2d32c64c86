// SPDX-License-Identifier: Apache-2.0
// Whether a prompt was seen before can be told from the time: so keys share no cached KV unless told to.
import { assert, assertEquals } from "@std/assert";
import { documents4096 } from "../fixtures/documents.ts";
import { TestServer } from "../fixtures/server.ts";

/** Prompt tokens that were cached, for the same question under each of these keys in turn. */
async function cachedUnder(keys: string[], ...flags: string[]): Promise<number[]> {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "# users\nsk-one\nsk-two\n");
    await using server = new TestServer(["--memory", "1GiB", "--api-key-file", file, ...flags]);
    const url = await server.ready();
    const { document, questions } = (await documents4096())[0]!;
    const content = document + questions[0]!.question;
    const cached: number[] = [];
    for (const key of keys) {
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}` },
        body: JSON.stringify({ max_tokens: 4, messages: [{ role: "user", content }] }),
      });
      const { usage } = await response.json();
      cached.push(usage.prompt_tokens_details.cached_tokens);
    }
    for (const key of new Set(keys)) assertEquals(server.log.includes(key), false);
    return cached;
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("each key of a file has a cache of its own", async () => {
  const [first, other, again] = await cachedUnder(["sk-one", "sk-two", "sk-one"]);
  assertEquals([first, other], [0, 0]);
  assert(again! > 3000, `${again} tokens`);
});

Deno.test("with --shared-cache all keys have one", async () => {
  const [first, other] = await cachedUnder(["sk-one", "sk-two"], "--shared-cache");
  assertEquals(first, 0);
  assert(other! > 3000, `${other} tokens`);
});
