// SPDX-License-Identifier: Apache-2.0
// Sessions on the real engine, with servers that stop, are killed, and find their disk full.
import { assert, assertEquals, assertLess } from "@std/assert";
import { documents4096 } from "../fixtures/documents.ts";
import { TestServer } from "../fixtures/server.ts";

interface Answer {
  text: string;
  prompt: number;
  cached: number;
}

async function ask(url: string, content: string, session?: string): Promise<Answer> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({
      temperature: 0,
      max_tokens: 100, // without a question some answers would fill the context
      messages: [{ role: "user", content }],
      ...(session === undefined ? {} : { sounder: { session } }),
    }),
  });
  const { choices, usage, error } = await response.json();
  assertEquals(response.status, 200, JSON.stringify(error));
  const { cached_tokens } = usage.prompt_tokens_details;
  return { text: choices[0].message.content, prompt: usage.prompt_tokens, cached: cached_tokens };
}

function call(url: string, path: string, method = "POST"): Promise<Response> {
  return fetch(`${url}${path}`, { method });
}

async function statusOf(url: string, path: string, method = "POST"): Promise<number> {
  const response = await call(url, path, method);
  await response.body?.cancel();
  return response.status;
}

async function filesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function serving(folder: string, ...flags: string[]): TestServer {
  return new TestServer(["--memory", "1GiB", "--sessions", folder, ...flags]);
}

/** A document of 4,000 tokens and two questions about it, and what a server without sessions answers. */
async function questions(): Promise<{ asked: [string, string]; answers: string[] }> {
  const { document, questions } = (await documents4096()).find((each) =>
    each.questions.length > 1
  )!;
  const asked: [string, string] = [
    document + questions[0]!.question,
    document + questions[1]!.question,
  ];
  await using server = new TestServer(["--memory", "1GiB"]);
  const url = await server.ready();
  const answers = [(await ask(url, asked[0])).text, (await ask(url, asked[1])).text];
  return { asked, answers };
}

Deno.test("a question after a restart finds the document on disk, and is answered as without", async () => {
  const { asked: [first, second], answers } = await questions();
  await inFolder(async (folder) => {
    {
      await using server = serving(folder);
      assertEquals((await ask(await server.ready(), first)).text, answers[0]);
    }
    await using server = serving(folder);
    const { text, prompt, cached } = await ask(await server.ready(), second);
    assertEquals(text, answers[1]);
    assertLess(prompt - cached, 200);
    assert(server.log.includes(`sessions 1 in ${folder}`), server.log);
  });
});

Deno.test("a session that was saved survives kill -9, and one that was being saved is as it was before", async () => {
  const { asked: [first, second], answers } = await questions();
  await inFolder(async (folder) => {
    {
      await using server = serving(folder);
      const url = await server.ready();
      await ask(url, first, "talk");
      assertEquals(await statusOf(url, "/sessions/talk"), 200);
      await server.crash();
    }
    let interrupted = 0;
    for (let attempt = 0; attempt < 10 && interrupted === 0; attempt++) {
      await using server = serving(folder);
      const url = await server.ready();
      const { text, prompt, cached } = await ask(url, second, "talk");
      assertEquals(text, answers[1]);
      assertLess(prompt - cached, 200);
      const save = statusOf(url, "/sessions/talk").catch(() => null);
      while (!(await filesIn(folder)).includes("talk.session.partial")) {
        if (await Promise.race([save, new Promise((done) => setTimeout(done))])) break;
      }
      await server.crash();
      await save;
      if ((await filesIn(folder)).includes("talk.session.partial")) interrupted++;
    }
    assertEquals(interrupted, 1);
    await using server = serving(folder);
    const { text, prompt, cached } = await ask(await server.ready(), first);
    assertEquals(text, answers[0]);
    assertLess(prompt - cached, 200);
    assertEquals(await filesIn(folder), [".lock", "talk.session"]);
  });
});

Deno.test("a damaged session is told and left alone, and its question is answered from the text", async () => {
  const { asked: [first], answers } = await questions();
  await inFolder(async (folder) => {
    {
      await using server = serving(folder);
      const url = await server.ready();
      await ask(url, first, "talk");
      await statusOf(url, "/sessions/talk");
    }
    const path = `${folder}/talk.session`;
    const bytes = await Deno.readFile(path);
    bytes[bytes.length >> 1]! ^= 4;
    await Deno.writeFile(path, bytes);
    {
      await using server = serving(folder);
      const url = await server.ready();
      const { text, cached } = await ask(url, first);
      assertEquals([text, cached], [answers[0], 0]);
      assert(
        /Session talk was not restored: .*block \d+ of \d+ is damaged/.test(server.log),
        server.log,
      );
      const shown = await (await call(url, "/sessions/talk", "GET")).json();
      assert(shown.problem.includes("is damaged"));
    }
    await Deno.writeFile(path, bytes.subarray(0, 100));
    await using server = serving(folder, "--quiet");
    const url = await server.ready();
    assertEquals((await ask(url, first)).text, answers[0]);
    assertEquals(await statusOf(url, "/sessions/talk/load"), 409);
    assertEquals(await statusOf(url, "/sessions/talk", "DELETE"), 200);
  });
});

Deno.test("a session of another model is told apart and left alone", async () => {
  await inFolder(async (folder) => {
    const { document } = (await documents4096())[0]!;
    {
      await using server = serving(folder);
      await ask(await server.ready(), document);
    }
    const before = await filesIn(folder);
    assertEquals(before.length, 2);
    const config = new URL("../fixtures/golden/families/llama2_mha", import.meta.url).pathname;
    await using server = serving(folder, "--model", config);
    await server.ready();
    assert(/Session auto-\w+ is left alone: .*it was saved with/.test(server.log), server.log);
    assertEquals(await filesIn(folder), before);
  });
});

Deno.test("two servers cannot keep sessions in one folder", async () => {
  await inFolder(async (folder) => {
    await using first = serving(folder);
    await first.ready();
    await using second = serving(folder);
    assertEquals(await second.ended(), 2);
    assert(second.log.includes("another server uses this folder"), second.log);
  });
});

/** Runs something on a file system of 4 MiB. False: none may be mounted. */
async function onSmallDisk(use: (disk: string) => Promise<void>): Promise<boolean> {
  const disk = await Deno.makeTempDir();
  const args = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", disk];
  try {
    const { success } = await new Deno.Command("mount", { args, stderr: "null" }).output();
    if (success) await use(disk);
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  } finally {
    await new Deno.Command("umount", { args: [disk], stderr: "null" }).output();
    await Deno.remove(disk);
  }
}

const canMount = await onSmallDisk(async () => {});

Deno.test({
  // Needs the right to mount.
  name: "a full disk is an error that says so; nothing is left of the save, and the server goes on",
  ignore: !canMount,
  async fn() {
    await onSmallDisk(async (disk) => {
      const { document, questions } = (await documents4096())[0]!;
      await using server = serving(disk);
      const url = await server.ready();
      const { text } = await ask(url, document + questions[0]!.question, "talk");
      const response = await call(url, "/sessions/talk");
      const { error } = await response.json();
      assertEquals([response.status, error.code], [507, "storage_error"]);
      assert(error.message.includes("No space left on device"), error.message);
      assertEquals(await filesIn(disk), [".lock"]);
      assertEquals((await ask(url, document + questions[0]!.question)).text, text);
      server.signal("SIGTERM");
      assertEquals(await server.ended(), 0);
      assert(server.log.includes("A context was not saved"), server.log);
      assertEquals(await filesIn(disk), [".lock"]);
    });
  },
});
