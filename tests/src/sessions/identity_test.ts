// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertNotEquals } from "@std/assert";
import { dummyModel, openModel } from "../../../src/model/source.ts";
import { identityOf } from "../../../src/sessions/identity.ts";
import { FAMILIES } from "../../fixtures/native_engine.ts";
import { inFolder } from "../../fixtures/sessions.ts";

const MODEL = `${FAMILIES}llama2_mha`;

/** Hashes of model and tokenizer. */
async function hashes(path: string): Promise<[string, string]> {
  const identity = await identityOf(await openModel(path));
  return [identity.slice(0, 32).toHex(), identity.slice(32).toHex()];
}

async function copy(folder: string): Promise<string> {
  for await (const { name, isFile } of Deno.readDir(MODEL)) {
    if (isFile) await Deno.copyFile(`${MODEL}/${name}`, `${folder}/${name}`);
  }
  return folder;
}

async function change(path: string, edit: (text: string) => string): Promise<void> {
  await Deno.writeTextFile(path, edit(await Deno.readTextFile(path)));
}

Deno.test("a copy of a model in another place is the same model", () =>
  inFolder(async (folder) => {
    assertEquals(await hashes(await copy(folder)), await hashes(MODEL));
  }));

Deno.test("other weights are another model with the same tokenizer", () =>
  inFolder(async (folder) => {
    const [model, tokenizer] = await hashes(MODEL);
    const { tensors } = await openModel(await copy(folder));
    const file = `${folder}/model.safetensors`;
    const bytes = await Deno.readFile(file);
    for (const { offset } of [tensors[0]!, tensors.at(-1)!]) {
      const changed = bytes.slice();
      changed[offset + 3]! ^= 1;
      await Deno.writeFile(file, changed);
      const [other, same] = await hashes(folder);
      assertNotEquals(other, model);
      assertEquals(same, tokenizer);
    }
  }));

Deno.test("another RoPE, or another tokenizer, is told apart", () =>
  inFolder(async (folder) => {
    const [model, tokenizer] = await hashes(await copy(folder));
    await change(`${folder}/tokenizer.json`, (text) => ` ${text}`);
    const [same, other] = await hashes(folder);
    assertEquals(same, model);
    assertNotEquals(other, tokenizer);
    await change(`${folder}/config.json`, (text) => {
      return text.replace('"rope_theta": 10000.0', '"rope_theta": 20000.0');
    });
    assertNotEquals((await hashes(folder))[0], model);
  }));

Deno.test("dummy weights of another seed are another model", async () => {
  const source = await dummyModel(`${MODEL}/config.json`);
  const [one, same, other] = [
    await identityOf(source, 1),
    await identityOf(source, 1),
    await identityOf(source, 2),
  ];
  assertEquals(one, same);
  assertNotEquals(one, other);
});
