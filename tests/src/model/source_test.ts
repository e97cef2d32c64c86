// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { basename } from "node:path";
import { Failure } from "../../../src/errors.ts";
import { FileSource } from "../../../src/model/bytes.ts";
import type { ModelSource, TensorPlace } from "../../../src/model/model.ts";
import { dummyModel, openModel } from "../../../src/model/source.ts";
import { shapeOf, tensorsOf } from "../../../src/model/tensors.ts";
import { tinyGguf } from "./file_writers.ts";

const ROOT = decodeURIComponent(new URL("../../../", import.meta.url).pathname);
const GOLDEN = `${ROOT}tests/fixtures/golden`;
const RECALL = `${ROOT}models/recall`;
const SMOLLM2 = `${ROOT}models/smollm2-135m-instruct/model.gguf`;

const BYTES: Record<string, (values: number) => number> = {
  F32: (n) => 4 * n,
  F16: (n) => 2 * n,
  BF16: (n) => 2 * n,
};

/** Every tensor once, with the shape of the configuration, inside its file, none upon another. */
function assertComplete(source: ModelSource): void {
  const { config, files, tensors } = source;
  const wanted = [...tensorsOf(config)].map(({ role, layer }) => `${role} ${layer}`).sort();
  assertEquals(tensors.map((t) => `${t.role} ${t.layer}`).sort(), wanted);
  for (const [index, path] of files.entries()) {
    const own = tensors.filter((t) => t.file === index).sort((a, b) => a.offset - b.offset);
    assert(own.length > 0, path);
    let end = 0;
    for (const tensor of own) {
      const shape = shapeOf(tensor.role, config)!;
      assertEquals([tensor.rows, tensor.columns], shape.length === 1 ? [1, shape[0]] : shape);
      assert(tensor.offset >= end, `${tensor.role} ${tensor.layer}`);
      end = tensor.offset + BYTES[tensor.type]!(tensor.rows * tensor.columns);
    }
    assertEquals(end, Deno.statSync(path).size);
  }
}

/** Values of a bf16 tensor as float32, little-endian. */
function bf16AsFloat32(
  path: string,
  { offset, rows, columns }: TensorPlace,
): Float32Array<ArrayBuffer> {
  using file = new FileSource(path);
  const values = new Uint16Array(file.read(offset, 2 * rows * columns).buffer);
  return new Float32Array(Uint32Array.from(values, (v) => v << 16).buffer);
}

function place(source: ModelSource, role: string, layer: number): TensorPlace {
  return source.tensors.find((t) => t.role === role && t.layer === layer)!;
}

async function inFolder(
  files: Record<string, string | Uint8Array>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(`${folder}/${name}`, bytes);
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function refuses(promise: Promise<unknown>, ...parts: string[]): Promise<void> {
  const { message, kind } = await assertRejects(() => promise, Failure);
  assertEquals(kind, "model");
  for (const part of parts) assertStringIncludes(message, part);
}

Deno.test("openModel finds every tensor of the embedded model", async () => {
  const source = await openModel(RECALL);
  assertComplete(source);
  assertEquals([source.name, source.endTokens, source.chatTemplate], ["recall", [2], null]);
  assertEquals(source.files, [`${RECALL}/model.safetensors`]);
  assert(source.tokenizer.kind === "huggingface");
  assertStringIncludes(source.tokenizer.tokenizerConfigJson!, "<|im_end|>");
});

Deno.test("openModel gives the offsets at which the golden values lie", async () => {
  const source = await openModel(RECALL);
  const golden = JSON.parse(await Deno.readTextFile(`${GOLDEN}/recall/tensors.json`));
  const roles: Record<string, [string, number]> = {
    "model.embed_tokens.weight": ["embedding", 0],
    "model.norm.weight": ["final_norm", 0],
    "model.layers.5.self_attn.k_proj.weight": ["k", 5],
    "model.layers.7.mlp.down_proj.weight": ["down", 7],
    "model.layers.3.post_attention_layernorm.weight": ["feed_forward_norm", 3],
  };
  for (const [name, shape, _norm, _first, sha256] of golden.tensors) {
    if (!(name in roles)) continue;
    const tensor = place(source, ...roles[name]!);
    assertEquals(tensor.rows * tensor.columns, shape.reduce((a: number, b: number) => a * b, 1));
    const values = bf16AsFloat32(source.files[0]!, tensor);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", values)).toHex();
    assertEquals(hash, sha256, name);
    delete roles[name];
  }
  assertEquals(roles, {});
});

for (const { name } of [...Deno.readDirSync(`${GOLDEN}/families`)].filter((e) => e.isDirectory)) {
  Deno.test(`openModel finds every tensor of ${name}`, async () => {
    const source = await openModel(`${GOLDEN}/families/${name}/`);
    assertComplete(source);
    assertEquals([source.name, source.files.length], [name, name === "mistral_sharded" ? 4 : 1]);
  });
}

Deno.test("openModel finds every tensor of SmolLM2's GGUF where the golden file has it", async () => {
  if (!await Deno.stat(SMOLLM2).then(() => true, () => false)) {
    console.log(`skipped: ${SMOLLM2} is missing; \`deno task model:smollm2\` fetches it`);
    return;
  }
  const source = await openModel(SMOLLM2);
  const path = `${GOLDEN}/smollm2-135m-instruct/gguf_tensors.json`;
  const { tensors, data_section_offset: start } = JSON.parse(await Deno.readTextFile(path));
  assertEquals(
    source.tensors.map((t) => [t.type, t.columns, t.rows, t.offset]),
    tensors.map(([_name, type, shape, offset]: [string, string, number[], number]) => [
      type,
      shape[0],
      shape[1] ?? 1,
      start + offset,
    ]),
  );
  const [embedding, norm, down] = source.tensors;
  assertEquals([embedding!.role, norm!.role, down!.role], ["embedding", "attention_norm", "down"]);
  assertEquals(place(source, "q", 29).interleavedHeads, 9);
  assertEquals(place(source, "k", 29).interleavedHeads, 3);
  assertEquals(place(source, "v", 29).interleavedHeads, 0);
  assertEquals([source.name, source.endTokens], ["smollm2-135m-instruct", [0, 2]]);
  assert(source.tokenizer.kind === "gguf");
  const { metadata } = source.tokenizer;
  assertEquals((metadata.get("tokenizer.ggml.tokens") as string[]).length, 49152);
  assertEquals((metadata.get("tokenizer.ggml.merges") as string[]).length, 48900);
});

Deno.test("openModel opens a GGUF file by its name or as the only one in its folder", async () => {
  await inFolder({ "tiny-q8_0.gguf": tinyGguf() }, async (folder) => {
    for (const path of [folder, `${folder}/tiny-q8_0.gguf`]) {
      const source = await openModel(path);
      assertEquals([source.name, source.endTokens], ["tiny-q8_0", [2, 7]]);
      assertEquals(source.files, [`${folder}/tiny-q8_0.gguf`]);
    }
    await Deno.rename(`${folder}/tiny-q8_0.gguf`, `${folder}/model.gguf`);
    assertEquals((await openModel(folder)).name, basename(folder));
    await Deno.writeFile(`${folder}/other.gguf`, tinyGguf());
    await refuses(openModel(folder), "several GGUF files", "model.gguf, other.gguf");
  });
});

Deno.test("openModel says what a folder or path lacks", async () => {
  await refuses(openModel("/no/such/model"), "/no/such/model: no such file or folder");
  await inFolder({}, (folder) => refuses(openModel(folder), "no model.safetensors"));
  await inFolder({ "pytorch_model.bin": "" }, (folder) => refuses(openModel(folder), "PyTorch"));
  const empty = { "model.safetensors": "" };
  await inFolder(empty, async (folder) => {
    await refuses(openModel(folder), "config.json: is missing");
    await refuses(openModel(`${folder}/model.safetensors`), "Give its folder");
  });
  const config = await Deno.readTextFile(`${RECALL}/config.json`);
  await inFolder({ ...empty, "config.json": config }, (folder) => {
    return refuses(openModel(folder), "model.safetensors: is too short");
  });
  await inFolder({ "x.gguf": "" }, (folder) => refuses(openModel(folder), "x.gguf: is too short"));
});

const SHARDED = `${GOLDEN}/families/mistral_sharded`;
const INDEX = "model.safetensors.index.json";

async function shardedCopy(): Promise<Record<string, Uint8Array>> {
  const entries = [...Deno.readDirSync(SHARDED)].map(async ({ name }) =>
    [name, await Deno.readFile(`${SHARDED}/${name}`)] as const
  );
  return Object.fromEntries(await Promise.all(entries));
}

Deno.test("openModel refuses shards that do not hold what the index says", async () => {
  const files = await shardedCopy();
  const index = JSON.parse(new TextDecoder().decode(files[INDEX]));
  const [tensor, file] = Object.entries(index.weight_map)[0] as [string, string];
  const other = Object.values(index.weight_map).find((name) => name !== file);
  const moved = { ...index, weight_map: { ...index.weight_map, [tensor]: other } };
  await inFolder({ ...files, [INDEX]: JSON.stringify(moved) }, (folder) => {
    return refuses(openModel(folder), INDEX, `"${tensor}"`, String(other));
  });
  const { [file]: _, ...without } = files;
  await inFolder(without, (folder) => refuses(openModel(folder), file, "no such file"));
  const twice = { ...files, [String(other)]: files[file]! };
  await inFolder(twice, (folder) => refuses(openModel(folder), "should lie in"));
});

Deno.test("openModel wants tokenizer.json and reads chat_template.jinja", async () => {
  const { "tokenizer.json": _, ...files } = await shardedCopy();
  await inFolder(files, (folder) => refuses(openModel(folder), "no tokenizer.json"));
  await inFolder({ ...await shardedCopy(), "chat_template.jinja": "{{ x }}" }, async (folder) => {
    assertEquals((await openModel(folder)).chatTemplate, "{{ x }}");
  });
});

Deno.test("openModel joins the end tokens of both files and drops impossible ones", async () => {
  const generation = JSON.stringify({ eos_token_id: [7, 5, 4000, -1] });
  const files = { ...await shardedCopy(), "generation_config.json": generation };
  await inFolder(files, async (folder) => {
    assertEquals((await openModel(folder)).endTokens, [2, 5, 7]);
    await Deno.writeTextFile(`${folder}/generation_config.json`, '{"eos_token_id": "x"}');
    await refuses(openModel(folder), "generation_config.json: eos_token_id");
  });
});

Deno.test("dummyModel gives every tensor of the shape without a file", async () => {
  const config = await Deno.readTextFile(`${RECALL}/config.json`);
  await inFolder({ "config.json": config }, async (folder) => {
    for (const path of [folder, `${folder}/config.json`]) {
      const source = await dummyModel(path);
      assertEquals(source.files, []);
      assertEquals(source.tokenizer, { kind: "bytes" });
      assertEquals(source.endTokens, []);
      assertEquals(source.tensors.length, 2 + 8 * 9);
      assert(source.tensors.every((t) => t.file === -1 && t.type === "BF16"));
      const { rows, columns } = place(source, "gate", 7);
      assertEquals([rows, columns], [1024, 384]);
    }
    assertEquals((await dummyModel(RECALL)).tokenizer.kind, "huggingface");
    const small = JSON.stringify({ ...JSON.parse(config), vocab_size: 100 });
    await Deno.writeTextFile(`${folder}/config.json`, small);
    await refuses(dummyModel(folder), "vocab_size is 100");
    await refuses(dummyModel(`${folder}/none.json`), "none.json: is missing");
  });
});

Deno.test({
  name: "dummyModel makes do with permission to read config.json alone",
  permissions: { read: [`${RECALL}/config.json`] },
  async fn() {
    const source = await dummyModel(`${RECALL}/config.json`);
    assertEquals([source.tokenizer.kind, source.tensors.length], ["bytes", 2 + 8 * 9]);
  },
});

Deno.test({
  name: "openModel names the permission that is missing",
  permissions: { read: [`${RECALL}/config.json`] },
  async fn() {
    await refuses(openModel(RECALL), `may not be read: start with --allow-read=${RECALL}`);
  },
});
