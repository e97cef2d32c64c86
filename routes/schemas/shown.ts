// SPDX-License-Identifier: Apache-2.0
/**
 * JSON Schemas of the request schemas. Where a check says less than it does (a refinement, a hand-written
 * reader), what it takes is written beside it.
 */
import { z } from "zod";

/** A JSON Schema. */
export type JsonSchema = Record<string, unknown>;

const SHOWN = new WeakMap<object, z.ZodType | JsonSchema>();
const NULLS_ABSENT = new WeakSet<object>();

/** The schema, shown in the API's description as another one. */
export function shownAs<T extends z.ZodType>(schema: T, as: z.ZodType | JsonSchema): T {
  SHOWN.set(schema, as);
  return schema;
}

/** The object schema, whose optional fields may also be null. */
export function nullsAreAbsent<T extends z.ZodType>(schema: T): T {
  NULLS_ABSENT.add(schema);
  return schema;
}

function replace(schema: JsonSchema, by: JsonSchema): void {
  for (const key of Object.keys(schema)) delete schema[key];
  Object.assign(schema, by);
}

/** Marks objects while the schema is made: zod shares and copies its parts until it is done. */
const MARK = "x-nulls-are-absent";

/** The schema with null allowed in the optional fields of marked objects. */
function withNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNulls);
  if (typeof value !== "object" || value === null) return value;
  const { [MARK]: marked, ...schema } = Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withNulls(inner)]),
  );
  if (!marked) return schema;
  const required = schema["required"] as string[] | undefined ?? [];
  const fields = Object.entries(schema["properties"] as Record<string, JsonSchema>);
  const properties = fields.map(([name, field]) => {
    const free = required.includes(name) || Object.keys(field).length === 0;
    return [name, free ? field : { anyOf: [field, { type: "null" }] }];
  });
  return { ...schema, properties: Object.fromEntries(properties) };
}

/** An object whose fields in `must` have to be there, as they are given here. */
export function requiring(schema: JsonSchema, must: Record<string, JsonSchema>): JsonSchema {
  const names = new Set([...schema["required"] as string[] ?? [], ...Object.keys(must)]);
  const properties = { ...schema["properties"] as JsonSchema, ...must };
  return { ...schema, properties, required: [...names] };
}

/** What a client may send where this schema checks. */
export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...shown } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      const as = SHOWN.get(zodSchema);
      if (as !== undefined) replace(jsonSchema, as instanceof z.ZodType ? jsonSchemaOf(as) : as);
      if (NULLS_ABSENT.has(zodSchema)) (jsonSchema as JsonSchema)[MARK] = true;
    },
  });
  return withNulls(shown) as JsonSchema;
}
