// SPDX-License-Identifier: Apache-2.0
/** Building blocks of the request schemas. Every message completes a sentence that starts with the field. */
import { z } from "zod";
import { type ApiError, invalid } from "../errors.ts";
import { nullsAreAbsent, shownAs } from "./shown.ts";

/** A value in an error sentence, shortened. */
export function show(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify((value.length > 60 ? `${value.slice(0, 60)}…` : value).toWellFormed());
  }
  if (Array.isArray(value)) {
    return value.length === 0 ? "an empty array" : `an array of ${value.length}`;
  }
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function must(what: string): { error: (issue: { input?: unknown }) => string } {
  return {
    error: ({ input }) =>
      input === undefined
        ? `is missing: it must be ${what}`
        : `must be ${what}, not ${show(input)}`,
  };
}

/** A number from `min` to `max`. */
export function number(min: number, max: number): z.ZodNumber {
  const rule = must(`a number from ${min} to ${max}`);
  return z.number(rule).min(min, rule).max(max, rule);
}

/** A number over 0 and up to `max`. */
export function share(max: number): z.ZodNumber {
  const rule = must(`a number over 0 and up to ${max}`);
  return z.number(rule).positive(rule).max(max, rule);
}

/** A whole number from `min` to `max`. */
export function integer(min: number, max: number): z.ZodType<number> {
  const schema = wholeNumber(min, max, `from ${min} to ${max}`);
  return shownAs(schema, { type: "integer", minimum: min, maximum: max });
}

function wholeNumber(min: number, max: number, which: string): z.ZodType<number> {
  const rule = must(`a whole number ${which}`);
  return z.number(rule).refine(
    (value) => Number.isInteger(value) && value >= min && value <= max,
    rule,
  );
}

/** Most tokens that any count of tokens may say: they are 32-bit in the engine. */
export const MAX_INT32 = 2 ** 31 - 1;

/** A 64-bit seed, with a sign or without. */
export const seed: z.ZodType<number> = shownAs(wholeNumber(-(2 ** 63), 2 ** 63, "of 64 bits"), {
  type: "integer",
});

/** The seed as the engine takes it. */
export function seedOf(value: number): bigint {
  return BigInt.asUintN(64, BigInt(value));
}

/** true or false. */
export const flag: z.ZodBoolean = z.boolean(must("true or false"));

/** A text; half surrogate pairs become U+FFFD, as they have no UTF-8. */
export const text: z.ZodType<string> = z.string(must("a string"))
  .transform((value) => value.toWellFormed());

/** Longest name or id. */
export const MAX_NAME = 1024;

/** A text that is a name or an id. */
export const name: z.ZodType<string> = shownAs(
  text.refine((value) => value.length <= MAX_NAME, {
    error: `must be at most ${MAX_NAME} characters long`,
  }),
  { type: "string", maxLength: MAX_NAME },
);

/** One of a few words. */
export function oneOf<const T extends string>(...words: T[]): z.ZodType<T> {
  return z.enum(words, must(`one of ${words.map((word) => `"${word}"`).join(", ")}`)) as z.ZodType<
    T
  >;
}

/** An array. Its length is looked at first: a bad element costs an issue, and a body holds millions. */
export function list<T>(element: z.ZodType<T>, max: number, what: string): z.ZodType<T[]> {
  const rule = must(`an array of up to ${max} ${what}`);
  const short = (value: unknown) => Array.isArray(value) && value.length <= max;
  const schema = z.unknown().refine(short, { ...rule, abort: true }).pipe(z.array(element));
  return shownAs(schema as z.ZodType<T[]>, z.array(element).max(max));
}

/**
 * An object with these fields. Those that are null count as absent, as OpenAI's clients send null for what
 * is not set; others are ignored, and not even looked at.
 */
export function fields<T extends z.ZodRawShape>(shape: T): z.ZodType<z.output<z.ZodObject<T>>> {
  const names = Object.keys(shape);
  const pick = (value: unknown) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const given = value as Record<string, unknown>;
    return Object.fromEntries(
      names.filter((name) => given[name] != null).map((name) => [name, given[name]]),
    );
  };
  const object = nullsAreAbsent(z.object(shape, must("an object")));
  return z.preprocess(pick, object) as z.ZodType<z.output<z.ZodObject<T>>>;
}

/** What the schema makes of the value, or a 400 that names the first field that is wrong. */
export function parse<T>(schema: z.ZodType<T>, value: unknown, at: PropertyKey[] = []): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  return refuse([...at, ...issue.path], issue.message);
}

/** Throws the 400 whose sentence is the field's path and the rule that it breaks. */
export function refuse(path: PropertyKey[], rule: string): never {
  throw fieldError(path, rule);
}

function fieldError(path: PropertyKey[], rule: string): ApiError {
  const param = path.reduce<string>((before, key) => {
    if (typeof key === "number") return `${before}[${key}]`;
    return before === "" ? String(key) : `${before}.${String(key)}`;
  }, "");
  return invalid(param === "" ? null : param, `${param === "" ? "The body" : param} ${rule}`);
}
