// SPDX-License-Identifier: Apache-2.0
/** Typed access to GGUF metadata; every wrong type is a {@linkcode Failure} that names the key. */
import { Failure } from "../errors.ts";

/** The key-value pairs of a GGUF file. */
export class GgufMetadata {
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(values: ReadonlyMap<string, unknown>) {
    this.#values = values;
  }

  wrong(key: string, expected: string): Failure {
    return new Failure("model", `The GGUF file's ${key} must be ${expected}.`);
  }

  has(key: string): boolean {
    return this.#values.get(key) !== undefined;
  }

  keys(): Iterable<string> {
    return this.#values.keys();
  }

  string(key: string): string {
    const value = this.#values.get(key);
    if (typeof value !== "string") throw this.wrong(key, "a text");
    return value;
  }

  stringOr(key: string, missing: string): string {
    return this.has(key) ? this.string(key) : missing;
  }

  /** Null when it is missing. */
  flag(key: string): boolean | null {
    const value = this.#values.get(key);
    if (value === undefined) return null;
    if (typeof value !== "boolean") throw this.wrong(key, "true or false");
    return value;
  }

  /** An id under `size`, or null when it is missing or outside (files use 2^32 - 1 for none). */
  id(key: string, size: number): number | null {
    const value = this.#values.get(key);
    if (value === undefined) return null;
    const id = typeof value === "bigint" ? Number(value) : value;
    if (typeof id !== "number" || !Number.isInteger(id)) throw this.wrong(key, "a token id");
    return id >= 0 && id < size ? id : null;
  }

  strings(key: string): ArrayLike<string> {
    const value = this.#values.get(key);
    if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
      throw this.wrong(key, "a list of texts");
    }
    return value;
  }

  /** Null when it is missing. */
  numbers(key: string, length: number): ArrayLike<number> | null {
    const value = this.#values.get(key);
    if (value === undefined) return null;
    const list = ArrayBuffer.isView(value) && !(value instanceof DataView)
      ? Array.from(value as unknown as ArrayLike<number | bigint>, Number)
      : value;
    if (!Array.isArray(list) || list.some((item) => typeof item !== "number")) {
      throw this.wrong(key, "a list of numbers");
    }
    if (list.length !== length) throw this.wrong(key, `a list of ${length} numbers, one a token`);
    return list;
  }
}
