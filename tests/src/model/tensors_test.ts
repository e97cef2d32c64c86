// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import { parseConfig } from "../../../src/model/config.ts";
import { ggufNaming, huggingFaceNaming } from "../../../src/model/names.ts";
import { assignRoles, shapeOf, type StoredTensor, tensorsOf } from "../../../src/model/tensors.ts";

function configOf(extra: object = {}) {
  return parseConfig(
    JSON.stringify({
      model_type: "llama",
      vocab_size: 320,
      hidden_size: 64,
      intermediate_size: 176,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      ...extra,
    }),
    "config.json",
  ).config;
}

const CONFIG = configOf();
const NAMING = huggingFaceNaming(CONFIG);
const COMPLETE: StoredTensor[] = [...tensorsOf(CONFIG)].map(({ role, layer }, i) => ({
  name: NAMING.nameOf(role, layer),
  file: 0,
  type: "BF16",
  shape: shapeOf(role, CONFIG)!,
  offset: 1000 * i,
}));

function assign(stored: readonly StoredTensor[], config = CONFIG) {
  return assignRoles(config, stored, huggingFaceNaming(config), ["x.safetensors"]);
}

function changed(name: string, change: Partial<StoredTensor>): StoredTensor[] {
  return COMPLETE.map((tensor) => tensor.name === name ? { ...tensor, ...change } : tensor);
}

function refuses(stored: readonly StoredTensor[], ...parts: string[]): void {
  const { message, kind } = assertThrows(() => assign(stored), Failure);
  assertEquals(kind, "model");
  for (const part of ["x.safetensors: ", ...parts]) assertStringIncludes(message, part);
}

function stored(name: string, shape: number[] = [64]): StoredTensor {
  return { name, file: 0, type: "BF16", shape, offset: 0 };
}

Deno.test("assignRoles finds all tensors in the order of the file, vectors as one row", () => {
  const places = assign(COMPLETE.toReversed());
  assertEquals(places.length, 3 + 2 * 9);
  assertEquals(places.map((p) => p.offset), COMPLETE.map((t) => t.offset));
  const find = (role: string, layer: number) =>
    places.find((p) => p.role === role && p.layer === layer)!;
  assertEquals([find("k", 1).rows, find("k", 1).columns], [32, 64]);
  assertEquals([find("final_norm", 0).rows, find("final_norm", 0).columns], [1, 64]);
  assertEquals(find("down", 1).interleavedHeads, 0);
});

Deno.test("assignRoles takes names without model. in front, and leaves out what carries nothing", () => {
  const short = COMPLETE.map((t) => ({ ...t, name: t.name.replace(/^model\./, "") }));
  const frequencies = stored("model.layers.0.self_attn.rotary_emb.inv_freq", [8]);
  assertEquals(assign([...short, { ...frequencies, type: "F32" }]).length, COMPLETE.length);
});

Deno.test("assignRoles leaves out a tied output projection that is stored once more", () => {
  const tied = configOf({ tie_word_embeddings: true });
  assertEquals(assign(COMPLETE, tied).length, COMPLETE.length - 1);
});

Deno.test("assignRoles knows biases and norms of families that have them", () => {
  for (const model_type of ["qwen2", "qwen3"]) {
    const config = configOf({ model_type, head_dim: 16 });
    const naming = huggingFaceNaming(config);
    const all = [...tensorsOf(config)].map(({ role, layer }) =>
      stored(naming.nameOf(role, layer), shapeOf(role, config)!)
    );
    const inner = assign(all, config).filter((p) => p.layer === 1).map((p) => p.role);
    const own = model_type === "qwen2" ? ["q_bias", "k_bias", "v_bias"] : ["q_norm", "k_norm"];
    assertEquals(inner.filter((r) => /_bias$|[qk]_norm$/.test(r)), own as typeof inner);
  }
});

Deno.test("assignRoles names what is missing", () => {
  refuses(COMPLETE.slice(1), 'tensor "model.embed_tokens.weight" missing');
  const none = COMPLETE.filter((t) => !t.name.includes("q_proj") && !t.name.includes("mlp"));
  refuses(none, '"model.layers.0.self_attn.q_proj.weight"', "and 5 more missing");
});

Deno.test("assignRoles names what is there twice", () => {
  refuses([...COMPLETE, stored("layers.1.mlp.up_proj.weight", [176, 64])], "up_proj", "twice");
});

Deno.test("assignRoles names what has the wrong shape or type", () => {
  const down = "model.layers.1.mlp.down_proj.weight";
  refuses(changed(down, { shape: [176, 64] }), down, "shape [176,64]", "needs [64,176]");
  refuses(changed(down, { shape: [64 * 176] }), down, "needs [64,176]");
  refuses(changed(down, { type: "I32" }), down, "type I32", "F32, F16 and BF16");
  refuses(changed(down, { type: "F8_E4M3" }), down, "type F8_E4M3");
});

Deno.test("assignRoles names what is unknown and says what it means", () => {
  const unknown = (name: string, meaning: string) =>
    refuses([...COMPLETE, stored(name)], `tensor "${name}"`, meaning);
  unknown("model.layers.0.mlp.experts.3.w1.weight", "mixture of experts");
  unknown("model.layers.0.self_attn.qkv_proj.weight", "fused");
  unknown("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", "MLA");
  unknown("model.layers.0.self_attn.sinks", "sinks");
  unknown("model.layers.0.self_attn.o_proj.bias", "q, k and v only");
  unknown("model.layers.0.self_attn.q_proj.weight_scale", "quantised");
  unknown("model.layers.0.self_attn.q_proj.lora_A.weight", "adapter");
  unknown("model.layers.0.pre_feedforward_layernorm.weight", "not supported");
  unknown("model.layers.2.input_layernorm.weight", "past the last one");
  unknown("model.layers.0.self_attn.q_norm.weight", "says that there is none");
  unknown("toString", "not supported");
});

Deno.test("ggufNaming has q and k of llama interleaved, and no others", () => {
  const gguf = ggufNaming(CONFIG, true);
  const all = [...tensorsOf(CONFIG)].map(({ role, layer }) =>
    stored(gguf.nameOf(role, layer), shapeOf(role, CONFIG)!)
  );
  const places = assignRoles(CONFIG, [...all, stored("rope_freqs.weight")], gguf, ["x.gguf"]);
  assertEquals(places.length, all.length);
  for (const { role, interleavedHeads } of places) {
    assertEquals(interleavedHeads, role === "q" ? 4 : role === "k" ? 2 : 0, role);
  }
  const plain = assignRoles(CONFIG, all, ggufNaming(CONFIG, false), ["x.gguf"]);
  assertEquals(plain.every((p) => p.interleavedHeads === 0), true);
});
