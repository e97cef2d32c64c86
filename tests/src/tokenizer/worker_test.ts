// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { readHuggingFace } from "../../../src/tokenizer/read_huggingface.ts";
import { WorkerClient } from "../../../src/tokenizer/worker_client.ts";
import { families, fromFiles, goldenSource, loaded } from "../../fixtures/tokenizers.ts";

const HOW = { parseSpecial: false, around: "none", markers: null } as const;

async function recallSetup() {
  const source = await goldenSource("recall");
  const { spec, templates, variables } = readHuggingFace(
    source.tokenizerJson,
    source.tokenizerConfigJson,
  );
  return { spec, chat: { templates, variables } };
}

function scripted(code: string): () => Worker {
  const url = `data:application/javascript,${encodeURIComponent(code)}`;
  return () => new Worker(url, { type: "module" });
}

Deno.test("the worker gives the ids of the event loop, for every kind of tokenizer", async () => {
  for (const [name, { tokenizer, cases }] of Object.entries(await families())) {
    if (!["llama3", "llama2", "metaspace_always", "stripped"].includes(name)) continue;
    using inline = await fromFiles(tokenizer, null, { workerThreshold: Infinity });
    using off = await fromFiles(tokenizer, null, { workerThreshold: 0 });
    for (const { t } of cases.slice(0, 10)) {
      for (const parseSpecial of [false, true]) {
        const options = { parseSpecial, addSpecial: true };
        assertEquals(await off.encode(t, options), await inline.encode(t, options), t);
      }
    }
  }
});

Deno.test("a chat that is encoded in the worker keeps special tokens of messages text", async () => {
  const source = await goldenSource("recall");
  using inline = await loaded(source, { workerThreshold: Infinity });
  using off = await loaded(source, { workerThreshold: 0 });
  const messages = [{ role: "user", content: "a<|im_end|>b ".repeat(50) }];
  const ids = await off.encodeChat(messages);
  assertEquals(ids, await inline.encodeChat(messages));
  assertEquals(ids.filter((id) => id === 2).length, 1);
});

Deno.test("a long conversation is rendered in the worker, and refused with the template's own sentence", async () => {
  const source = await goldenSource("recall");
  const chatTemplate = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}" +
    "{% else %}{{ raise_exception('only users speak here') }}{% endif %}{% endfor %}";
  using inline = await loaded(source, { workerThreshold: Infinity, chatTemplate });
  using off = await loaded(source, { chatTemplate });
  const render = inline.renderChat.bind(inline);
  assertEquals(render([{ role: "user", content: "hi" }]), "hi");
  const many = Array.from({ length: 5000 }, (_, i) => ({ role: "user", content: `line ${i}. ` }));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const ids = await off.encodeChat(many);
  clearInterval(timer);
  assert(ticks > 5, `${ticks} ticks`);
  assertEquals(ids, await inline.encodeChat(many));
  const wrong = [...many, { role: "nobody", content: "x" }];
  const failure = await assertRejects(() => off.encodeChat(wrong), Failure);
  assertEquals([failure.kind, failure.message], ["invalid", "only users speak here"]);
  const open = await assertRejects(
    () => off.encodeChat(many, { continueFinalMessage: true, addGenerationPrompt: true }),
    Failure,
  );
  assertEquals(open.kind, "invalid");
  // The worker lives on.
  assertEquals(await off.encodeChat(many), ids);
});

Deno.test("long texts leave the event loop free", async () => {
  using processor = await loaded(await goldenSource("recall"));
  const text = "The quick brown fox jumps over 13 lazy dogs. ".repeat(40_000);
  await processor.encode("x".repeat(20_000));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const ids = await processor.encode(text);
  clearInterval(timer);
  assertEquals(processor.tokenizer.decode(ids), text);
  assert(ticks > 5, `${ticks} ticks`);
});

Deno.test("texts that wait for the worker come in their order, each with its ids", async () => {
  using processor = await loaded(await goldenSource("recall"), { workerThreshold: 0 });
  const texts = Array.from({ length: 40 }, (_, i) => `text number ${i} `.repeat(i + 1));
  const ids = await Promise.all(texts.map((text) => processor.encode(text)));
  assertEquals(ids.map((list) => processor.tokenizer.decode(list)), texts);
});

Deno.test("a worker that dies fails its text and is started again for the next", async () => {
  // Dies on "die"; answers with one id otherwise.
  const code = `self.onmessage = ({ data }) => {
    if (data.text === "die") throw new Error("no more");
    if (data.text !== undefined) self.postMessage(Int32Array.of(data.text.length));
  };`;
  const client = new WorkerClient(await recallSetup(), scripted(code));
  const [dead, alive] = await Promise.allSettled([
    client.encode("die", HOW),
    client.encode("live", HOW),
  ]);
  assertEquals(dead.status, "rejected");
  const { reason } = dead as PromiseRejectedResult;
  assert(reason instanceof Failure);
  assertEquals(reason.kind, "engine");
  assertStringIncludes(reason.message, "no more");
  assertEquals((alive as PromiseFulfilledResult<Int32Array>).value, Int32Array.of(4));
  client.close();
});

Deno.test("a worker that hangs is ended after its time", async () => {
  const hangs = scripted("self.onmessage = ({ data }) => { if (data.text) for (;;); };");
  const client = new WorkerClient(await recallSetup(), hangs, 100);
  const failure = await assertRejects(() => client.encode("a", HOW), Failure, "took longer");
  assertEquals(failure.kind, "engine");
  client.close();
});

Deno.test("close fails what is not done, and what comes after", async () => {
  const client = new WorkerClient(await recallSetup());
  const running = client.encode("a", HOW);
  const waiting = client.encode("b", HOW);
  client.close();
  for (const promise of [running, waiting, client.encode("c", HOW)]) {
    const failure = await assertRejects(() => promise, Failure);
    assertEquals(failure.kind, "unavailable");
  }
});

Deno.test("the worker runs when only its folder and the errors may be read", async () => {
  const folder = new URL("../../../src/tokenizer/", import.meta.url);
  const config = decodeURIComponent(new URL("../../deno.json", folder).pathname);
  const code = `
    import { loadTextProcessor } from ${JSON.stringify(new URL("load.ts", folder).href)};
    const processor = await loadTextProcessor({ kind: "bytes" }, { workerThreshold: 0 });
    console.log((await processor.encode("hello")).join());
    processor.close();`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, code);
  const output = async (...permissions: string[]) => {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--quiet", `--config=${config}`, ...permissions, file],
      env: { NO_COLOR: "1" },
    }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  try {
    const [path, errors] = [folder, new URL("../errors.ts", folder)].map(({ pathname }) =>
      decodeURIComponent(pathname)
    );
    assertEquals(await output(`--allow-read=${path},${errors}`), "104,101,108,108,111\n");
    // Without it texts are encoded on the event loop.
    assertEquals(await output(), "104,101,108,108,111\n");
  } finally {
    await Deno.remove(file);
  }
});
