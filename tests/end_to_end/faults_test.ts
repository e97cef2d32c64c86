// SPDX-License-Identifier: Apache-2.0
// What happens below the server while it serves.
import { assert, assertEquals, assertLess } from "@std/assert";
import { documents4096 } from "../fixtures/documents.ts";
import { TestServer } from "../fixtures/server.ts";

const RECALL = new URL("../../models/recall/", import.meta.url).pathname;

async function answer(url: string, content: string): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    // Without a question some answers would fill the context.
    body: JSON.stringify({ temperature: 0, max_tokens: 60, messages: [{ role: "user", content }] }),
  });
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return body.choices[0].message.content;
}

Deno.test("a model file that is truncated while it is served changes nothing: weights are copies", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for await (const { name } of Deno.readDir(RECALL)) {
      await Deno.copyFile(`${RECALL}${name}`, `${folder}/${name}`);
    }
    await using server = new TestServer(["--model", folder, "--memory", "1GiB", "--quiet"]);
    const url = await server.ready();
    const { document, questions } = (await documents4096())[0]!;
    const asked = document + questions[0]!.question;
    const before = await answer(url, asked);
    for (const name of ["model.safetensors", "tokenizer.json"]) {
      await Deno.truncate(`${folder}/${name}`, 100);
    }
    assertEquals(await answer(url, asked), before);
    const health = await fetch(`${url}/health`);
    assertEquals([health.status, (await health.json()).status], [200, "ok"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// Other runs of this test may be under way.
const CGROUP = `/sys/fs/cgroup/memory/sounder_test_${Deno.pid}`;
const MIB = 2 ** 20;

/** A memory cgroup (version 1, the one that containers here have); null where none can be made. */
async function memoryGroup(bytes: number): Promise<string | null> {
  try {
    await Deno.mkdir(CGROUP, { recursive: true });
    await Deno.writeTextFile(`${CGROUP}/memory.limit_in_bytes`, String(bytes));
    return CGROUP;
  } catch {
    return null;
  }
}

const group = await memoryGroup(420 * MIB);

Deno.test({
  // Needs root and a writable cgroup v1 memory hierarchy.
  name: "under a cgroup's memory limit the server plans for less and fills what it planned",
  ignore: group === null,
  async fn() {
    const join = ["bash", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group!];
    try {
      await using server = new TestServer(["--quiet"], {}, join);
      const url = await server.ready();
      const { kv_blocks: blocks } = await (await fetch(`${url}/health`)).json();
      const text = (await documents4096())[0]!.document;
      // Together longer than the pool: all of it is used.
      const count = Math.ceil(blocks * 128 / 4000) + 1;
      await Promise.all(Array.from({ length: count }, (_, i) => answer(url, `${i}. ${text}`)));
      const used = Number(await Deno.readTextFile(`${group}/memory.max_usage_in_bytes`));
      assertLess(used, 420 * MIB);
      assert(blocks > 40 && blocks < 400, `${blocks} blocks`);
    } finally {
      await Deno.remove(group!);
    }
  },
});
