// SPDX-License-Identifier: Apache-2.0
/** Damaged model files: what the user reads names the file and the tensor, and nothing crashes. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { NativeEngine } from "../../ffi/engine.ts";
import { Failure } from "../../src/errors.ts";
import { openModel } from "../../src/model/source.ts";
import { familyAsGguf } from "../fixtures/family_gguf.ts";
import {
  type FileTensor,
  type GgufTensor,
  readSafetensors,
  type SafetensorsEntry,
  writeGguf,
  writeSafetensors,
} from "../fixtures/model_files.ts";
import { FAMILIES } from "../fixtures/native_engine.ts";

const SETTINGS = { kvBlocks: 2, context: 128, maxStepTokens: 16, maxContexts: 2 };
const DOWN = "model.layers.1.mlp.down_proj.weight";
const FAMILY = FAMILIES + "llama2_mha/";
const CONFIG = JSON.parse(Deno.readTextFileSync(FAMILY + "config.json"));
const tensors = () => readSafetensors(FAMILY + "model.safetensors");

/** Opens a model all the way. @returns the sentence of the failure that must come */
async function failureOf(path: string): Promise<string> {
  const failure = await assertRejects(async () => {
    const source = await openModel(path);
    const engine = await NativeEngine.open(source, SETTINGS);
    await engine.close();
  }, Failure);
  assertEquals(failure.kind, "model", failure.message);
  // A sentence for people: it starts like one, ends like one and holds no stack or NaN of ours.
  assert(/^\S.*[.!?)"]$/s.test(failure.message), failure.message);
  return failure.message;
}

/** A copy of the tiny model, its weights written by `write`; the folder goes away afterwards. */
async function withFolder(
  write: (file: string) => void,
  check: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
      Deno.copyFileSync(FAMILY + name, `${folder}/${name}`);
    }
    write(`${folder}/model.safetensors`);
    await check(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function withGguf(
  change: (tensors: GgufTensor[]) => void,
  check: (file: string) => Promise<void>,
): Promise<void> {
  const file = Deno.makeTempFileSync({ suffix: ".gguf" });
  try {
    const gguf = familyAsGguf(CONFIG, tensors());
    change(gguf.tensors);
    writeGguf(file, gguf.metadata, gguf.tensors);
    await check(file);
  } finally {
    Deno.removeSync(file);
  }
}

/** The tensor with a float16 value put in the middle of it. */
function withValue(all: FileTensor[], name: string, bits: number): FileTensor[] {
  const { data } = all.find((tensor) => tensor.name === name)!;
  new DataView(data.buffer).setUint16(2 * Math.floor(data.length / 4), bits, true);
  return all;
}

Deno.test("the tiny model opens when nothing is damaged, also through the writers of these tests", async () => {
  await withFolder((file) => writeSafetensors(file, tensors()), async (folder) => {
    await (await NativeEngine.open(await openModel(folder), SETTINGS)).close();
  });
  await withGguf(() => {}, async (file) => {
    await (await NativeEngine.open(await openModel(file), SETTINGS)).close();
  });
});

const HEADER_DAMAGE: [string, (header: Record<string, SafetensorsEntry>) => void, RegExp][] = [
  ["a tensor that overlaps another", (header) => {
    header[DOWN]!.data_offsets = header[DOWN]!.data_offsets.map((at) => at - 64) as [
      number,
      number,
    ];
  }, /overlap/],
  ["a tensor of another shape", (header) => {
    header[DOWN]!.shape.reverse();
  }, /shape \[176, ?64\].*\[64, ?176\]/],
  ["a shape that doesn't fit the bytes", (header) => {
    header[DOWN]!.shape[0]!++;
  }, /bytes|shape/],
  ["a tensor past the end of the file", (header) => {
    header[DOWN]!.data_offsets = header[DOWN]!.data_offsets.map((at) => at + 1e9) as [
      number,
      number,
    ];
  }, /end|cut off|bytes/],
  ["a tensor that isn't there", (header) => {
    delete header[DOWN];
  }, /missing|belong|hole|no tensor/],
  ["a tensor of whole numbers", (header) => {
    header[DOWN]!.dtype = "I16";
  }, /I16/],
];

for (const [what, damage, sentence] of HEADER_DAMAGE) {
  Deno.test(`safetensors with ${what} are refused`, async () => {
    await withFolder((file) => writeSafetensors(file, tensors(), damage), async (folder) => {
      const message = await failureOf(folder);
      assert(sentence.test(message), message);
      assertStringIncludes(message, "model.safetensors");
    });
  });
}

Deno.test("safetensors without a tensor are refused by its name", async () => {
  const rest = tensors().filter(({ name }) => name !== DOWN);
  await withFolder((file) => writeSafetensors(file, rest), async (folder) => {
    assertStringIncludes(await failureOf(folder), DOWN);
  });
});

Deno.test("truncated safetensors name the tensor that is cut", async () => {
  await withFolder((file) => writeSafetensors(file, tensors()), async (folder) => {
    const file = `${folder}/model.safetensors`;
    const { size } = Deno.statSync(file);
    const last = tensors().at(-1)!;
    for (const left of [size - 1, size - last.data.length + 1]) {
      Deno.truncateSync(file, left);
      assertStringIncludes(await failureOf(folder), last.name);
    }
    for (const left of [100_000, 4_000, 9, 8, 1, 0]) {
      Deno.truncateSync(file, left);
      assertStringIncludes(await failureOf(folder), "model.safetensors");
    }
  });
});

Deno.test("a file that is cut after its header was read is noticed by the engine", async () => {
  await withFolder((file) => writeSafetensors(file, tensors()), async (folder) => {
    const source = await openModel(folder);
    Deno.truncateSync(`${folder}/model.safetensors`, 200_000);
    const failure = await assertRejects(() => NativeEngine.open(source, SETTINGS), Failure);
    assertEquals(failure.kind, "model", failure.message);
    assertStringIncludes(failure.message, "model.safetensors");
  });
});

/** NaN, infinity and minus infinity as float16. */
for (
  const [what, bits] of [["NaN", 0x7e01], ["infinity", 0x7c00], ["-infinity", 0xfc00]] as const
) {
  Deno.test(`a weight that is ${what} is refused by its tensor's name`, async () => {
    const damaged = withValue(tensors(), DOWN, bits);
    await withFolder((file) => writeSafetensors(file, damaged), async (folder) => {
      const message = await failureOf(folder);
      assert(/down/i.test(message) && /layers?.?1\b/i.test(message), message);
      assert(/NaN|infinit|finite/i.test(message), message);
    });
  });
}

Deno.test("a shard that is missing is named", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    for (const { name } of Deno.readDirSync(FAMILIES + "mistral_sharded")) {
      if (name === "model-00003-of-00004.safetensors") continue;
      Deno.copyFileSync(`${FAMILIES}mistral_sharded/${name}`, `${folder}/${name}`);
    }
    assertStringIncludes(await failureOf(folder), "model-00003-of-00004.safetensors");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

const GGUF_DOWN = "blk.1.ffn_down.weight";
const GGUF_DAMAGE: [string, (tensor: GgufTensor) => void, RegExp][] = [
  [
    "a tensor of another shape",
    (tensor) => tensor.shape.reverse(),
    /shape \[176, ?64\].*\[64, ?176\]/,
  ],
  ["a tensor of an unknown type", (tensor) => tensor.type = 77, /77/],
  ["a tensor of a type that isn't read", (tensor) => tensor.type = 10, /Q2_K/],
  ["a tensor that overlaps another", (tensor) => tensor.offset = 64, /overlap/],
  ["a tensor past the end", (tensor) => tensor.offset = 2 ** 30, /cut off|end/],
  ["a tensor in an odd place", (tensor) => tensor.offset = 33, /multiple of 32/],
  ["a NaN", ({ data }) => new DataView(data.buffer).setUint16(100, 0x7e01, true), /NaN|finite/],
];

for (const [what, damage, sentence] of GGUF_DAMAGE) {
  Deno.test(`a GGUF file with ${what} is refused`, async () => {
    await withGguf((all) => {
      damage(all.find(({ name }) => name === GGUF_DOWN)!);
    }, async (file) => {
      const message = await failureOf(file);
      assert(sentence.test(message), message);
      assert(
        message.includes(GGUF_DOWN) || /down.*layer 1|layer 1.*down|overlap/.test(message),
        message,
      );
    });
  });
}

Deno.test("truncated GGUF files are refused wherever they are cut", async () => {
  await withGguf(() => {}, async (file) => {
    const { size } = Deno.statSync(file);
    const cuts = [size - 64, size >> 1, size >> 2, 6000, 3000, 1000, 200, 30, 23, 4, 1, 0];
    for (const left of cuts) {
      Deno.truncateSync(file, left);
      const message = await failureOf(file);
      assertStringIncludes(message, file.split("/").at(-1)!);
      // Past the head, what is cut is a tensor, and the sentence says which.
      if (left >= size >> 2) assert(/"(blk\.|token_embd|output)/.test(message), message);
    }
  });
});
