// SPDX-License-Identifier: Apache-2.0
/** The folder that holds sessions: one process at a time, one file a session. */
import { join } from "node:path";
import { Failure } from "../errors.ts";
import { fileNameOf, nameOfFile, type SessionName } from "./id.ts";

const LOCK = ".lock";
/** Of files that are being written; see `sounder_context_save`. */
const PARTIAL = ".session.partial";

/** A file of the folder. */
export interface SessionFile extends SessionName {
  bytes: number;
  /** Milliseconds since 1970. */
  usedAt: number;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export class SessionFolder {
  readonly #path: string;
  readonly #lock: Deno.FsFile;

  private constructor(path: string, lock: Deno.FsFile) {
    this.#path = path;
    this.#lock = lock;
  }

  /**
   * Makes it if need be, takes it for this process, and removes what interrupted saves left.
   * @throws {Failure} kind `invalid` when it cannot be used, or another process does
   */
  static async open(path: string): Promise<SessionFolder> {
    let lock: Deno.FsFile | null = null;
    try {
      await Deno.mkdir(path, { recursive: true, mode: 0o700 });
      lock = await Deno.open(join(path, LOCK), { create: true, write: true, mode: 0o600 });
      // The system lets go of it when the process ends, however that comes.
      if (!await lock.tryLock(true)) {
        throw new Error("another server uses this folder; give each its own.");
      }
      const folder = new SessionFolder(path, lock);
      await folder.#removePartial();
      return folder;
    } catch (error) {
      lock?.close();
      throw new Failure("invalid", `Cannot keep sessions in ${path}: ${reasonOf(error)}`);
    }
  }

  async #removePartial(): Promise<void> {
    for await (const { name, isFile } of Deno.readDir(this.#path)) {
      if (isFile && name.endsWith(PARTIAL)) await Deno.remove(join(this.#path, name));
    }
  }

  pathOf(name: SessionName): string {
    return join(this.#path, fileNameOf(name));
  }

  /** All files whose names are those of sessions. */
  async files(): Promise<SessionFile[]> {
    const files: SessionFile[] = [];
    for await (const entry of Deno.readDir(this.#path)) {
      const name = entry.isFile ? nameOfFile(entry.name) : null;
      if (name === null) continue;
      files.push({ ...name, ...await this.stat(name) });
    }
    return files;
  }

  async stat(name: SessionName): Promise<{ bytes: number; usedAt: number }> {
    const { size, mtime } = await Deno.stat(this.pathOf(name));
    return { bytes: size, usedAt: mtime?.getTime() ?? 0 };
  }

  /** Notes that it was used: the time of a file is that of its last use. */
  async touch(name: SessionName, now: number): Promise<void> {
    await Deno.utime(this.pathOf(name), new Date(now), new Date(now));
  }

  async remove(name: SessionName): Promise<void> {
    try {
      await Deno.remove(this.pathOf(name));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) {
        throw new Failure("storage", `Cannot delete session ${name.id}: ${reasonOf(error)}`);
      }
    }
  }

  close(): void {
    this.#lock.close();
  }
}
