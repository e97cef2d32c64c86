// SPDX-License-Identifier: Apache-2.0
/** Reading parts of files whose contents nobody has checked yet. */
import { Failure } from "../errors.ts";

/** Something with bytes at offsets. Header parsers read it in pieces and never as a whole. */
export interface ByteSource {
  /** Path for messages. */
  readonly name: string;
  /** Bytes there are. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`; callers stay within `size`.
   * @throws {Failure} kind `model` when the file cannot be read or has shrunk.
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>;
}

/** A failure that names the file it is about. */
export function fileFailure(name: string, sentence: string, cause?: unknown): Failure {
  return new Failure("model", `${name}: ${sentence}`, { cause });
}

/** A value out of a file for a message: short, whatever it is. */
export function show(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return "an object";
  const text = ArrayBuffer.isView(value) ? "an array" : JSON.stringify(value) ?? "nothing";
  return text.length <= 160 ? text : `${text.slice(0, 160)}…`;
}

/** Why a file cannot be read, in words. */
export function readFailure(path: string, error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof Deno.errors.NotFound) return fileFailure(path, "no such file or folder.");
  if (error instanceof Deno.errors.NotCapable) {
    // For a symbolic link it is the file behind it that must be allowed.
    const wanted = /access to "([^"]+)"/.exec(error.message)?.[1] ?? path;
    return fileFailure(path, `may not be read: start with --allow-read=${wanted}`, error);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return fileFailure(path, "may not be read: its permissions forbid it.", error);
  }
  const reason = error instanceof Error ? error.message : String(error);
  return fileFailure(path, `cannot be read (${reason}).`, error);
}

/** A file on disk. */
export class FileSource implements ByteSource, Disposable {
  readonly name: string;
  readonly size: number;
  readonly #file: Deno.FsFile;

  /** @throws {Failure} kind `model` when there is no such file or it may not be read. */
  constructor(path: string) {
    this.name = path;
    try {
      this.#file = Deno.openSync(path);
    } catch (error) {
      throw readFailure(path, error);
    }
    this.size = this.#size(path);
  }

  #size(path: string): number {
    try {
      const { isFile, size } = this.#file.statSync();
      if (isFile) return size;
    } catch (error) {
      this.#file.close();
      throw readFailure(path, error);
    }
    this.#file.close();
    throw fileFailure(path, "is no regular file.");
  }

  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    let filled = 0;
    try {
      this.#file.seekSync(offset, Deno.SeekMode.Start);
      while (filled < length) {
        const count = this.#file.readSync(bytes.subarray(filled));
        if (count === null) break;
        filled += count;
      }
    } catch (error) {
      throw readFailure(this.name, error);
    }
    if (filled < length) throw fileFailure(this.name, "has become shorter while it was read.");
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A text file as a whole, or null when there is none. @throws {Failure} kind `model` */
export async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw readFailure(path, error);
  }
}

/** Reads JSON. @throws {Failure} kind `model` that names the file. */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw fileFailure(name, `is not JSON (${(cause as Error).message}).`, cause);
  }
}
