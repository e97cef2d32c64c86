// SPDX-License-Identifier: Apache-2.0
/** Reads single files out of zip archives on disk (wheels are such), as streams. */

/** A file in an archive. */
export interface ZipEntry {
  name: string;
  /** 0: stored, 8: deflated. */
  method: number;
  compressedSize: number;
  size: number;
  /** Of the entry's own header. */
  offset: number;
}

const END_BYTES = 22, ENTRY_BYTES = 46, HEADER_BYTES = 30;
const LONGEST_COMMENT = 65535;
const CHUNK_BYTES = 1 << 18;

async function read(file: Deno.FsFile, offset: number, length: number): Promise<DataView> {
  const bytes = new Uint8Array(length);
  await file.seek(offset, Deno.SeekMode.Start);
  for (let filled = 0; filled < length;) {
    const count = await file.read(bytes.subarray(filled));
    if (count === null) throw new Error("The archive is cut off.");
    filled += count;
  }
  return new DataView(bytes.buffer);
}

/** Where the list of entries lies: said at the end of the file, before a comment. */
async function findDirectory(file: Deno.FsFile): Promise<{ offset: number; length: number }> {
  const { size } = await file.stat();
  const length = Math.min(size, END_BYTES + LONGEST_COMMENT);
  const tail = await read(file, size - length, length);
  for (let at = length - END_BYTES; at >= 0; at--) {
    if (tail.getUint32(at, true) === 0x06054b50) {
      const directory = {
        length: tail.getUint32(at + 12, true),
        offset: tail.getUint32(at + 16, true),
      };
      if (directory.offset + directory.length <= size) return directory;
    }
  }
  throw new Error("This is no zip archive, or one of more than 4 GiB.");
}

/** The entries of an archive. @throws {Error} when it is none or damaged */
export async function zipEntries(file: Deno.FsFile): Promise<ZipEntry[]> {
  const { offset, length } = await findDirectory(file);
  const view = await read(file, offset, length);
  const entries: ZipEntry[] = [];
  for (let at = 0; at + ENTRY_BYTES <= length;) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new Error("The archive is damaged.");
    const nameBytes = view.getUint16(at + 28, true);
    const end = at + ENTRY_BYTES + nameBytes;
    if (end > length) throw new Error("The archive is damaged.");
    entries.push({
      name: new TextDecoder().decode(new Uint8Array(view.buffer, at + ENTRY_BYTES, nameBytes)),
      method: view.getUint16(at + 10, true),
      compressedSize: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    });
    at = end + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

async function* part(file: Deno.FsFile, offset: number, length: number) {
  for (let done = 0; done < length;) {
    const { buffer } = await read(file, offset + done, Math.min(CHUNK_BYTES, length - done));
    done += buffer.byteLength;
    yield new Uint8Array(buffer as ArrayBuffer);
  }
}

/**
 * The contents of an entry, piece by piece.
 * @throws {Error} when they are damaged or not as long as the entry says
 */
export async function* zipContents(
  file: Deno.FsFile,
  entry: ZipEntry,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const header = await read(file, entry.offset, HEADER_BYTES);
  if (header.getUint32(0, true) !== 0x04034b50) throw new Error("The archive is damaged.");
  if (entry.method !== 0 && entry.method !== 8) {
    throw new Error(
      `${entry.name} is compressed by method ${entry.method}, which is not supported.`,
    );
  }
  const names = header.getUint16(26, true) + header.getUint16(28, true);
  const stored = part(file, entry.offset + HEADER_BYTES + names, entry.compressedSize);
  const contents = entry.method === 0
    ? stored
    : ReadableStream.from(stored).pipeThrough(new DecompressionStream("deflate-raw"));
  let size = 0;
  for await (const chunk of contents) {
    size += chunk.length;
    if (size > entry.size) break;
    yield chunk;
  }
  if (size !== entry.size) throw new Error(`${entry.name} is not as long as the archive says.`);
}
