// SPDX-License-Identifier: Apache-2.0
/** Reads JSON of unknown shape; every wrong type is a {@linkcode Failure} that names the place. */
import { Failure } from "../errors.ts";

/** A JSON value with the name of its place, for messages. */
export class Json {
  constructor(readonly value: unknown, readonly place: string) {}

  /** @throws {Failure} kind `model` when it is not JSON. */
  static parse(text: string, place: string): Json {
    try {
      return new Json(JSON.parse(text), place);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Failure("model", `${place} is not valid JSON: ${why}.`);
    }
  }

  wrong(expected: string): Failure {
    return new Failure("model", `${this.place} must be ${expected}.`);
  }

  get isMissing(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** A member of an object; missing when there is none. */
  get(key: string): Json {
    const object = this.object();
    return new Json(Object.hasOwn(object, key) ? object[key] : undefined, `${this.place}.${key}`);
  }

  object(): Record<string, unknown> {
    if (typeof this.value !== "object" || this.value === null || Array.isArray(this.value)) {
      throw this.wrong("an object");
    }
    return this.value as Record<string, unknown>;
  }

  array(): Json[] {
    if (!Array.isArray(this.value)) throw this.wrong("a list");
    return this.value.map((item, i) => new Json(item, `${this.place}[${i}]`));
  }

  string(): string {
    if (typeof this.value !== "string") throw this.wrong("a text");
    return this.value;
  }

  /** A token id. */
  id(): number {
    const { value } = this;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 2 ** 30) {
      throw this.wrong("a token id");
    }
    return value;
  }

  boolean(missing: boolean): boolean {
    if (this.isMissing) return missing;
    if (typeof this.value !== "boolean") throw this.wrong("true or false");
    return this.value;
  }

  stringOr(missing: string): string {
    return this.isMissing ? missing : this.string();
  }
}
