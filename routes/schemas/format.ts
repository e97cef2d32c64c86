// SPDX-License-Identifier: Apache-2.0
/**
 * What an answer must be: OpenAI's `response_format`, vLLM's `structured_outputs` and `guided_*`, llama.cpp's
 * `grammar` and `json_schema`. They say the same, so a request may use one of them.
 */
import { z } from "zod";
import type { AnswerFormat, FormatRequest } from "../../src/constraint/compiler.ts";
import { fields, flag, list, oneOf, parse, refuse, show, text } from "./fields.ts";
import { shownAs } from "./shown.ts";

const MAX_TEXTS = 10_000;
const texts = list(text, MAX_TEXTS, "texts");

const responseSchema = fields({
  type: oneOf("text", "json_object", "json_schema", "regex", "grammar"),
  json_schema: fields({
    name: text.optional(),
    schema: z.unknown().optional(),
    strict: flag.optional(),
  }).optional(),
  // llama.cpp: a schema beside "json_object".
  schema: z.unknown().optional(),
  regex: text.optional(),
  pattern: text.optional(),
  value: text.optional(),
  grammar: text.optional(),
});

const structuredSchema = fields({
  json: z.unknown().optional(),
  json_object: flag.optional(),
  regex: text.optional(),
  choice: texts.optional(),
  grammar: text.optional(),
  structural_tag: z.unknown().optional(),
});

const flatShape = {
  guided_json: z.unknown().optional(),
  guided_regex: text.optional(),
  guided_choice: texts.optional(),
  guided_grammar: text.optional(),
  json_schema: z.unknown().optional(),
  grammar: text.optional(),
};
const flatSchema = fields(flatShape);

/** The fields in the API's description. */
export const formatShape = {
  response_format: shownAs(z.unknown(), responseSchema).optional(),
  structured_outputs: shownAs(z.unknown(), structuredSchema).optional(),
  ...flatShape,
};

/** Reads them; throws a 400 that names the field. null: the answer may be anything. */
export function formatOf(body: Record<string, unknown>): FormatRequest | null {
  const found = [...responseFormat(body), ...structuredOutputs(body), ...flatFields(body)];
  if (found.length > 1) {
    refuse([found[1]!.param], `and ${found[0]!.param} both say what the answer must be: send one`);
  }
  return found[0] ?? null;
}

function responseFormat(body: Record<string, unknown>): FormatRequest[] {
  if (body["response_format"] == null) return [];
  const path = ["response_format"];
  const value = parse(responseSchema, body["response_format"], path);
  const param = (name: string) => `response_format.${name}`;
  switch (value.type) {
    case "text":
      return [];
    case "json_object":
      return [
        value.schema === undefined
          ? { format: { kind: "json" }, param: param("type") }
          : { format: schemaFormat(value.schema, false), param: param("schema") },
      ];
    case "json_schema": {
      if (value.json_schema === undefined) refuse([...path, "json_schema"], "is missing");
      const { schema, strict = false } = value.json_schema;
      if (schema === undefined) return [{ format: { kind: "json" }, param: param("type") }];
      return [{ format: schemaFormat(schema, strict), param: param("json_schema.schema") }];
    }
    case "regex": {
      const regex = value.regex ?? value.pattern ?? value.value;
      if (regex === undefined) refuse([...path, "regex"], "is missing");
      return [{ format: { kind: "regex", regex }, param: param("regex") }];
    }
    case "grammar": {
      const grammar = value.grammar ?? value.value;
      if (grammar === undefined) refuse([...path, "grammar"], "is missing");
      return [{ format: { kind: "grammar", grammar }, param: param("grammar") }];
    }
  }
}

function structuredOutputs(body: Record<string, unknown>): FormatRequest[] {
  if (body["structured_outputs"] == null) return [];
  const path = ["structured_outputs"];
  const value = parse(structuredSchema, body["structured_outputs"], path);
  if (value.structural_tag !== undefined) {
    refuse([...path, "structural_tag"], "isn't supported: send a grammar");
  }
  return given("structured_outputs.", {
    json: value.json === undefined ? null : schemaFormat(value.json, false),
    json_object: value.json_object ? { kind: "json" } : null,
    regex: value.regex === undefined ? null : { kind: "regex", regex: value.regex },
    choice: choiceFormat(value.choice, [...path, "choice"]),
    grammar: value.grammar === undefined ? null : { kind: "grammar", grammar: value.grammar },
  });
}

function flatFields(body: Record<string, unknown>): FormatRequest[] {
  const value = parse(flatSchema, body);
  const schema = (given: unknown) => given === undefined ? null : schemaFormat(given, false);
  const grammar = (grammar: string | undefined): AnswerFormat | null =>
    grammar ? { kind: "grammar", grammar } : null;
  return given("", {
    guided_json: schema(value.guided_json),
    guided_regex: value.guided_regex === undefined
      ? null
      : { kind: "regex", regex: value.guided_regex },
    guided_choice: choiceFormat(value.guided_choice, ["guided_choice"]),
    guided_grammar: grammar(value.guided_grammar),
    json_schema: schema(value.json_schema),
    grammar: grammar(value.grammar),
  });
}

function given(
  prefix: string,
  formats: Record<string, AnswerFormat | null>,
): FormatRequest[] {
  return Object.entries(formats).flatMap(([name, format]) =>
    format === null ? [] : [{ format, param: prefix + name }]
  );
}

/** A schema may also come as its JSON text. */
function schemaFormat(value: unknown, strict: boolean): AnswerFormat {
  if (typeof value !== "string") return { kind: "schema", schema: value, strict };
  try {
    return { kind: "schema", schema: JSON.parse(value), strict };
  } catch {
    return refuse([], `holds the schema ${show(value)}, which isn't JSON`);
  }
}

function choiceFormat(texts: string[] | undefined, path: string[]): AnswerFormat | null {
  if (texts === undefined) return null;
  if (texts.length === 0) refuse(path, "must hold at least one text");
  return { kind: "choice", texts };
}
