// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertRejects } from "@std/assert";
import { zipContents, zipEntries, type ZipEntry } from "../../scripts/zip.ts";

interface Part {
  name: string;
  text: string;
  method: 0 | 8;
}

async function deflate(text: string): Promise<Uint8Array> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return await new Response(stream).bytes();
}

function record(signature: number, fields: readonly [width: 2 | 4, value: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 + fields.reduce((sum, [width]) => sum + width, 0)));
  view.setUint32(0, signature, true);
  let at = 4;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

async function archive(parts: readonly Part[], comment = ""): Promise<Uint8Array<ArrayBuffer>> {
  const files: Uint8Array[] = [], directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, text, method } of parts) {
    const data = method === 8 ? await deflate(text) : new TextEncoder().encode(text);
    const size = new TextEncoder().encode(text).length, bytes = new TextEncoder().encode(name);
    const common: [2 | 4, number][] = [[2, 20], [2, 0], [2, method], [4, 0], [4, 0]];
    const sizes: [2 | 4, number][] = [[4, data.length], [4, size], [2, bytes.length], [2, 0]];
    const header = record(0x04034b50, [...common, ...sizes]);
    const rest: [2 | 4, number][] = [[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(record(0x02014b50, [[2, 20], ...common, ...sizes, ...rest]), bytes);
    files.push(header, bytes, data);
    offset += header.length + bytes.length + data.length;
  }
  const listed = directory.reduce((sum, bytes) => sum + bytes.length, 0);
  const count = parts.length;
  const end = record(0x06054b50, [
    [2, 0],
    [2, 0],
    [2, count],
    [2, count],
    [4, listed],
    [4, offset],
    [2, comment.length],
  ]);
  const all = [...files, ...directory, end, new TextEncoder().encode(comment)];
  return await new Blob(all as Uint8Array<ArrayBuffer>[]).bytes();
}

async function withArchive(
  bytes: Uint8Array,
  body: (file: Deno.FsFile) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, bytes);
    using file = await Deno.open(path);
    await body(file);
  } finally {
    await Deno.remove(path);
  }
}

async function textOf(file: Deno.FsFile, entry: ZipEntry): Promise<string> {
  return await new Response(ReadableStream.from(zipContents(file, entry))).text();
}

const PARTS: Part[] = [
  { name: "folder/long", text: "line of text\n".repeat(100_000), method: 8 },
  { name: "short", text: "as it is", method: 0 },
  { name: "ünïcode", text: "", method: 8 },
];

Deno.test("zipContents gives stored and deflated files as they were", async () => {
  await withArchive(await archive(PARTS, "a comment"), async (file) => {
    const entries = await zipEntries(file);
    assertEquals(entries.map((entry) => entry.name), PARTS.map((part) => part.name));
    for (const [i, entry] of entries.entries()) {
      assertEquals(await textOf(file, entry), PARTS[i]!.text);
    }
  });
});

Deno.test("zipContents refuses contents that are longer, shorter or damaged", async () => {
  const bytes = await archive(PARTS);
  await withArchive(bytes, async (file) => {
    const [long, short] = await zipEntries(file);
    for (const size of [long!.size - 1, long!.size + 1, 0]) {
      await assertRejects(() => textOf(file, { ...long!, size }), Error, "not as long");
    }
    await assertRejects(() => textOf(file, { ...short!, method: 12 }), Error, "method 12");
    await assertRejects(() => textOf(file, { ...short!, offset: 3 }), Error, "damaged");
    await assertRejects(() => textOf(file, { ...short!, method: 8 }));
  });
});

Deno.test("zipEntries refuses what is no archive", async () => {
  const whole = await archive(PARTS);
  for (
    const bytes of [new Uint8Array(0), new Uint8Array(500), whole.subarray(0, whole.length - 30)]
  ) {
    await withArchive(bytes, async (file) => {
      await assertRejects(() => zipEntries(file), Error);
    });
  }
});
