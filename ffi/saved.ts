// SPDX-License-Identifier: Apache-2.0
/** The calls about saved contexts. Native file access passes Deno's permissions, so they are asked for here. */
import type { ContextId, SavedContext, SavedPlace } from "../src/engine/engine.ts";
import { Failure, type FailureKind } from "../src/errors.ts";
import type { Library } from "./library.ts";
import * as abi from "./symbols.ts";

const encoder = new TextEncoder();

async function requirePermission(name: "read" | "write", path: string): Promise<void> {
  const { state } = await Deno.permissions.query({ name, path });
  if (state !== "granted") {
    throw new Failure("engine", `Cannot ${name} ${path}: start with --allow-${name}=${path}`);
  }
}

function identityBytes({ identity }: SavedPlace): Uint8Array<ArrayBuffer> {
  if (identity.length === abi.IDENTITY_BYTES) return new Uint8Array(identity);
  throw new RangeError(`An identity has ${abi.IDENTITY_BYTES} bytes, not ${identity.length}.`);
}

/** What is wrong with the file is one thing, what the engine lacks at the moment another. */
function kindOf(status: number): FailureKind {
  if (status === abi.OUT_OF_BLOCKS) return "memory";
  return status === abi.BUSY || status === abi.CANCELLED ? "unavailable" : "storage";
}

export class SavedCalls {
  readonly #library: Library;
  readonly #running = new Set<Promise<unknown>>();
  /** Most tokens of a context. */
  readonly #longest: number;

  readonly #check: (status: number, kind: FailureKind) => number;

  /** `check` passes statuses ≥ 0 through and throws failures. */
  constructor(
    library: Library,
    longest: number,
    check: (status: number, kind: FailureKind) => number,
  ) {
    this.#library = library;
    this.#longest = longest;
    this.#check = check;
  }

  async save(
    handle: Deno.PointerValue,
    context: ContextId,
    tokens: number,
    place: SavedPlace,
    note: string,
  ): Promise<void> {
    await requirePermission("write", place.path);
    const path = encoder.encode(place.path);
    const noteBytes = encoder.encode(note);
    await this.#run(this.#library.symbols.sounder_context_save(
      handle,
      context,
      tokens,
      path,
      path.length,
      identityBytes(place),
      noteBytes,
      noteBytes.length,
    ));
  }

  async restore(handle: Deno.PointerValue, place: SavedPlace, tokens: number): Promise<number> {
    await requirePermission("read", place.path);
    const path = encoder.encode(place.path);
    return await this.#run(this.#library.symbols.sounder_context_restore(
      handle,
      tokens,
      path,
      path.length,
      identityBytes(place),
    ));
  }

  async describe(handle: Deno.PointerValue, place: SavedPlace): Promise<SavedContext> {
    await requirePermission("read", place.path);
    const path = encoder.encode(place.path);
    const figures = new BigInt64Array(abi.SAVED_COUNT);
    const note = new Uint8Array(abi.MAX_NOTE_BYTES);
    const tokens = new Int32Array(this.#longest);
    await this.#run(this.#library.symbols.sounder_saved_describe(
      handle,
      path,
      path.length,
      identityBytes(place),
      figures,
      figures.length,
      note,
      note.length,
      tokens,
      tokens.length,
    ));
    const figure = (index: number) => Number(figures[index]);
    return {
      length: figure(abi.SAVED_TOKENS),
      exact: figure(abi.SAVED_EXACT),
      bytes: figure(abi.SAVED_FILE_BYTES),
      note: new TextDecoder().decode(note.subarray(0, figure(abi.SAVED_NOTE_BYTES))),
      tokens: tokens.slice(0, figure(abi.SAVED_TOKENS)),
    };
  }

  /** Ends the running transfer and waits for all calls. */
  async end(handle: Deno.PointerValue): Promise<void> {
    this.#library.symbols.sounder_transfer_cancel(handle);
    await Promise.allSettled([...this.#running]);
  }

  async #run(call: Promise<number>): Promise<number> {
    this.#running.add(call);
    try {
      const status = await call;
      return this.#check(status, kindOf(status));
    } finally {
      this.#running.delete(call);
    }
  }
}
