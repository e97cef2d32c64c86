// SPDX-License-Identifier: Apache-2.0
/** Damaged files: 10,000 and more for each parser, the same ones every time. */
import { assert } from "@std/assert";
import { FileSource } from "../../../src/model/bytes.ts";
import { MemorySource } from "./memory_source.ts";
import { parseConfig } from "../../../src/model/config.ts";
import { ggufEndTokens } from "../../../src/model/end_tokens.ts";
import { readGguf } from "../../../src/model/gguf.ts";
import { ggufConfig } from "../../../src/model/gguf_config.ts";
import { ggufNaming, huggingFaceNaming } from "../../../src/model/names.ts";
import { readSafetensors, readShardIndex } from "../../../src/model/safetensors.ts";
import { assignRoles } from "../../../src/model/tensors.ts";
import { tinyGguf } from "./file_writers.ts";
import { CountingSource, damage, fuzz } from "./mutations.ts";

const ROOT = decodeURIComponent(new URL("../../../", import.meta.url).pathname);
const FAMILIES = `${ROOT}tests/fixtures/golden/families`;
const MODELS = [
  `${ROOT}models/recall`,
  ...["llama2_mha", "llama31_rope_scaling", "qwen2_qkv_bias", "qwen3_qk_norm", "yarn_rope"]
    .map((name) => `${FAMILIES}/${name}`),
];
const RUNS = 10_000;
/** What a parser may read besides the file itself: one window. */
const SLACK = 1 << 18;

interface Head {
  /** The part with all lengths, and a little of the data. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the whole file. */
  size: number;
}

function head(path: string, length: (source: FileSource) => number): Head {
  using source = new FileSource(path);
  return { bytes: source.read(0, length(source)), size: source.size };
}

/** A damaged head in a file that is as much longer or shorter as the head, or a little. */
function damagedSource(heads: readonly Head[], random: (below: number) => number): CountingSource {
  const own = heads[random(heads.length)]!, other = heads[random(heads.length)]!;
  const bytes = damage(own.bytes, other.bytes, random);
  const size = own.size + bytes.length - own.bytes.length +
    (random(8) === 0 ? random(200) - 100 : 0);
  return new CountingSource(new MemorySource("x", bytes, Math.max(size, bytes.length)));
}

function assertReadOnce(source: CountingSource): void {
  assert(source.bytesRead <= 2 * source.size + SLACK, `${source.bytesRead} of ${source.size} read`);
}

Deno.test("readSafetensors and assignRoles end in a Failure for any damage to a header", () => {
  const headers = MODELS.map((folder) =>
    head(`${folder}/model.safetensors`, (source) => {
      return 8 + new DataView(source.read(0, 8).buffer).getUint32(0, true) + 16;
    })
  );
  const configs = MODELS.map((folder) =>
    parseConfig(Deno.readTextFileSync(`${folder}/config.json`), "c").config
  );
  const { refused, accepted } = fuzz(RUNS, (random) => {
    const source = damagedSource(headers, random);
    const config = configs[random(configs.length)]!;
    assignRoles(config, readSafetensors(source), huggingFaceNaming(config), ["x"]);
    assertReadOnce(source);
  });
  assert(refused > RUNS / 2 && accepted + refused === RUNS, `${refused} refused`);
});

Deno.test("readGguf and what follows it end in a Failure for any damage to a head", () => {
  const heads = [
    ...["llama", "qwen2", "qwen3"].map((architecture) => tinyGguf({ architecture })),
    tinyGguf({ tied: false, matrixType: 2, metadata: MORE_METADATA }),
  ].map((file) => ({
    bytes: file.slice(0, readGguf(new MemorySource("x", file)).dataStart + 16),
    size: file.length,
  }));
  const { refused, accepted } = fuzz(RUNS, (random) => {
    const source = damagedSource(heads, random);
    const gguf = readGguf(source);
    const { config, interleaved } = ggufConfig(gguf, source);
    assignRoles(config, gguf.tensors, ggufNaming(config, interleaved), ["x"]);
    ggufEndTokens(gguf.metadata, config.vocabulary);
    assertReadOnce(source);
  });
  assert(refused > RUNS / 2 && accepted > 100 && accepted + refused === RUNS, `${refused} refused`);
});

const MORE_METADATA = {
  "llama.rope.scaling.type": { type: "string", value: "yarn" },
  "llama.rope.scaling.factor": { type: "f32", value: 4 },
  "llama.rope.scaling.original_context_length": { type: "u32", value: 512 },
  "general.alignment": { type: "u32", value: 32 },
  "tokenizer.ggml.scores": { type: "array", of: "f32", values: [0, 1, 2] },
  "big": { type: "u64", value: 1n << 60n },
} as const;

Deno.test("parseConfig ends in a Failure for any damage to a config.json", () => {
  const texts = [...Deno.readDirSync(FAMILIES)].filter((entry) => entry.isDirectory)
    .map(({ name }) => Deno.readFileSync(`${FAMILIES}/${name}/config.json`));
  const decoder = new TextDecoder();
  const { refused } = fuzz(RUNS, (random) => {
    const bytes = damage(texts[random(texts.length)]!, texts[random(texts.length)]!, random);
    parseConfig(decoder.decode(bytes), "config.json");
  });
  assert(refused > RUNS / 2, `${refused} refused`);
});

/** Values that a key of JSON may have instead of the right one. */
const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  0.5,
  1e300,
  "",
  "x",
  "__proto__",
  [],
  [[]],
  [null],
  {},
  { toString: 1 },
  { rope_type: "yarn", factor: 1e-300 },
  { rope_type: "llama3" },
];

Deno.test("parseConfig ends in a Failure for any values in a config.json", () => {
  const configs = [...Deno.readDirSync(FAMILIES)].filter((entry) => entry.isDirectory)
    .map(({ name }) => JSON.parse(Deno.readTextFileSync(`${FAMILIES}/${name}/config.json`)));
  const keys = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const { accepted, refused } = fuzz(RUNS, (random) => {
    const config = { ...configs[random(configs.length)] };
    for (let i = random(3); i >= 0; i--) {
      const key = keys[random(keys.length)]!;
      const other = configs[random(configs.length)];
      config[key] = random(3) === 0 ? other[key] : ODD_VALUES[random(ODD_VALUES.length)];
    }
    const { rope } = parseConfig(JSON.stringify(config), "config.json").config;
    assert(rope.frequencies.every((f) => Number.isFinite(f) && f >= 0), "frequencies are finite");
    assert(Number.isFinite(rope.scale) && rope.scale > 0, "RoPE's scale is finite");
  });
  assert(refused > 1000 && accepted > 1000, `${refused} refused, ${accepted} accepted`);
});

Deno.test("readShardIndex ends in a Failure for any damage to an index", () => {
  const path = `${FAMILIES}/mistral_sharded/model.safetensors.index.json`;
  const text = Deno.readFileSync(path);
  const decoder = new TextDecoder();
  const { refused } = fuzz(2000, (random) => {
    for (const file of readShardIndex(decoder.decode(damage(text, text, random)), "i").files) {
      assert(!/[/\\\0]/.test(file) && file !== "..", file);
    }
  });
  assert(refused > 500, `${refused} refused`);
});

Deno.test("readGguf ends in a Failure for damage to SmolLM2's head, where its file is there", () => {
  const path = `${ROOT}models/smollm2-135m-instruct/model.gguf`;
  let smollm2: Head;
  try {
    smollm2 = head(path, () => 1_785_664);
  } catch {
    console.log(`skipped: ${path} is missing; \`deno task model:smollm2\` fetches it`);
    return;
  }
  // Damage to the vocabulary's texts only changes them: only the ends of the head are hit here.
  const start = smollm2.bytes.slice(0, 4096);
  const { refused } = fuzz(40, (random) => {
    const bytes = smollm2.bytes.slice();
    bytes.set(damage(start, start, random).subarray(0, start.length));
    readGguf(new MemorySource("x", bytes, smollm2.size));
  });
  assert(refused > 0);
});
