// SPDX-License-Identifier: Apache-2.0
/** What the parts of the conversion of JSON schemas share. */
import { Failure } from "../../errors.ts";
import type { GrammarBuilder, Node } from "../grammar.ts";
import type { JsonRules } from "../json_grammar.ts";

/** A schema that is an object. */
export type Schema = Readonly<Record<string, unknown>>;

/**
 * What becomes of keywords that no grammar here can follow: they are refused (`strict` also refuses formats that
 * aren't enforced), or left aside, so that answers fit the rest of the schema.
 */
export type Strictness = "strict" | "usual" | "lenient";

/** What converters of single types get. `path` is a JSON pointer for messages. */
export interface Conversion {
  builder: GrammarBuilder;
  json: JsonRules;
  strictness: Strictness;
  /** Refuses a part of the schema, or returns where it may be left aside. */
  unsupported(rule: string, path: string): void;
  convert(schema: unknown, path: string): Node;
}

/** Throws; the sentence is completed by the place in the schema. */
export function refuseSchema(rule: string, path: string): never {
  throw new Failure("invalid", `${rule} (at ${path})`);
}

export function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A keyword whose value is a whole number from 0 up, or the fallback. */
export function countOf(schema: Schema, keyword: string, path: string, fallback: number): number {
  const value = schema[keyword];
  if (value === undefined) return fallback;
  if (!Number.isInteger(value) || (value as number) < 0) {
    refuseSchema(`has a "${keyword}" that isn't a whole number from 0 up`, path);
  }
  return value as number;
}

/** Texts are compared as JSON; the order of keys counts, and that is good enough for what it decides. */
export function equalJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** One step of a JSON pointer. */
export function child(path: string, ...keys: (string | number)[]): string {
  return keys.reduce<string>(
    (before, key) => `${before}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`,
    path,
  );
}
