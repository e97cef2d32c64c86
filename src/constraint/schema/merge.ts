// SPDX-License-Identifier: Apache-2.0
/** Schemas that must hold together, as one; and schemas of which only one can hold. */
import { equalJson, isObject, refuseSchema, type Schema } from "./schema.ts";

/** Keywords that say nothing about values. */
export const REMARKS = new Set([
  "title",
  "description",
  "default",
  "examples",
  "example",
  "deprecated",
  "readOnly",
  "writeOnly",
  "$schema",
  "$id",
  "$comment",
  "$anchor",
  "$defs",
  "definitions",
  // OpenAPI's: it names the property by which branches are told apart, which they say themselves.
  "discriminator",
]);

/** One schema that says what both say. */
export function mergeSchemas(a: Schema, b: Schema, path: string): Schema {
  const merged: Record<string, unknown> = { ...a };
  for (const [keyword, value] of Object.entries(b)) {
    const there = merged[keyword];
    if (there === undefined || REMARKS.has(keyword)) merged[keyword] = value;
    else if (!equalJson(there, value)) merged[keyword] = joined(keyword, there, value, path);
  }
  if (limits(a, b) || limits(b, a)) {
    refuseSchema(
      'has an "allOf" or "anyOf" that names properties beside "additionalProperties" of a schema that doesn\'t ' +
        "name them, which isn't supported",
      path,
    );
  }
  return merged;
}

/** Whether `additionalProperties` of the one schema says something of properties that only the other one names. */
function limits(one: Schema, other: Schema): boolean {
  const others = one["additionalProperties"];
  if (others === undefined || others === true) return false;
  const names = new Set(namesOf(one));
  return namesOf(other).some((name) => !names.has(name));
}

function namesOf({ properties }: Schema): string[] {
  return isObject(properties) ? Object.keys(properties) : [];
}

function joined(keyword: string, a: unknown, b: unknown, path: string): unknown {
  if (keyword === "required" && Array.isArray(a) && Array.isArray(b)) {
    return [...new Set([...a, ...b])];
  }
  if (keyword === "properties" && isObject(a) && isObject(b)) {
    const properties: Record<string, unknown> = { ...a };
    for (const [name, value] of Object.entries(b)) {
      properties[name] = Object.hasOwn(a, name) && !equalJson(a[name], value)
        ? { allOf: [a[name], value] }
        : value;
    }
    return properties;
  }
  if (keyword === "type") {
    const types = [a].flat().filter((type) => [b].flat().includes(type));
    if (types.length > 0) return types;
  }
  if (typeof a === "number" && typeof b === "number") {
    if (/^(min|exclusiveMin)/.test(keyword)) return Math.max(a, b);
    if (/^(max|exclusiveMax)/.test(keyword)) return Math.min(a, b);
  }
  return refuseSchema(`asks for two different "${keyword}" at once, which isn't supported`, path);
}

/** The only types that a schema allows; null: any. */
function typesOf(schema: unknown): string[] | null {
  if (!isObject(schema)) return null;
  if (schema["type"] !== undefined) return [schema["type"]].flat() as string[];
  const values = valuesOf(schema);
  return values === null ? null : values.map(typeName);
}

function valuesOf(schema: unknown): unknown[] | null {
  if (!isObject(schema)) return null;
  if (Object.hasOwn(schema, "const")) return [schema["const"]];
  return Array.isArray(schema["enum"]) ? schema["enum"] : null;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
}

/** No value fits both: their types differ, their values do, or a property by which to tell them apart. */
export function areDisjoint(a: unknown, b: unknown): boolean {
  const [as, bs] = [typesOf(a), typesOf(b)];
  const kind = (type: string) => type === "integer" ? "number" : type;
  if (as !== null && bs !== null && !as.some((type) => bs.map(kind).includes(kind(type)))) {
    return true;
  }
  const [av, bv] = [valuesOf(a), valuesOf(b)];
  if (av !== null && bv !== null) {
    return !av.some((value) => bv.some((other) => equalJson(value, other)));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const [ap, bp] = [a["properties"], b["properties"]];
  if (!isObject(ap) || !isObject(bp)) return false;
  const needed = (schema: Schema) => Array.isArray(schema["required"]) ? schema["required"] : [];
  return needed(a).some((name) =>
    needed(b).includes(name) && valuesOf(ap[name]) !== null && areDisjoint(ap[name], bp[name])
  );
}
