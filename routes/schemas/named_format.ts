// SPDX-License-Identifier: Apache-2.0
/** What an answer must be, as the Responses and Messages APIs say it: the schema stands beside its type. */
import { z } from "zod";
import type { FormatRequest } from "../../src/constraint/compiler.ts";
import { fields, flag, oneOf, refuse, text } from "./fields.ts";

/** The field. */
export const namedFormat = fields({
  type: oneOf("text", "json_object", "json_schema"),
  name: text.optional(),
  description: text.optional(),
  schema: z.unknown().optional(),
  strict: flag.optional(),
});

/** What it asks for; null: nothing. */
export function namedFormatOf(
  format: z.output<typeof namedFormat> | undefined,
  path: PropertyKey[],
): FormatRequest | null {
  const param = path.join(".");
  switch (format?.type) {
    case undefined:
    case "text":
      return null;
    case "json_object":
      return { format: { kind: "json" }, param: `${param}.type` };
    case "json_schema": {
      const { schema, strict = false } = format;
      if (schema === undefined) refuse([...path, "schema"], "is missing");
      return { format: { kind: "schema", schema, strict }, param: `${param}.schema` };
    }
  }
}
