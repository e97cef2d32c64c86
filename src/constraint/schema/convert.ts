// SPDX-License-Identifier: Apache-2.0
/**
 * JSON schemas as grammars. Every text of the grammar is valid under the schema; keywords for which that
 * can't be kept are refused by name. Not every valid document is a text of the grammar: properties come in
 * the schema's order, and objects whose properties are named have no others unless the schema says so.
 */
import { choice, type Grammar, GrammarBuilder, type Node, oneText, text } from "../grammar.ts";
import { JsonRules } from "../json_grammar.ts";
import { arrayNode } from "./arrays.ts";
import { areDisjoint, mergeSchemas, REMARKS } from "./merge.ts";
import { numberNode } from "./numbers.ts";
import { objectNode } from "./objects.ts";
import {
  child,
  type Conversion,
  isObject,
  refuseSchema,
  type Schema,
  type Strictness,
} from "./schema.ts";
import { stringNode } from "./strings.ts";

/** Keywords that change which values are valid, and that no grammar here can follow. */
const UNSUPPORTED = [
  "not",
  "if",
  "then",
  "else",
  "contains",
  "minContains",
  "maxContains",
  "propertyNames",
  "patternProperties",
  "dependentRequired",
  "dependentSchemas",
  "dependencies",
  "minProperties",
  "maxProperties",
  "unevaluatedItems",
  "$dynamicRef",
  "$recursiveRef",
];

/** The types that keywords belong to: a schema that names no type means these. */
const KEYWORD_TYPES: Readonly<Record<string, string>> = {
  properties: "object",
  required: "object",
  additionalProperties: "object",
  items: "array",
  prefixItems: "array",
  minItems: "array",
  maxItems: "array",
  minLength: "string",
  maxLength: "string",
  pattern: "string",
  format: "string",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "number",
  exclusiveMaximum: "number",
  multipleOf: "number",
};

/** Schemas may refer to each other so often before they come to a value. */
const MAX_DEPTH = 200;

/** @throws {Failure} `invalid`, completing a sentence that starts with the schema's field. */
export function schemaGrammar(schema: unknown, strictness: Strictness): Grammar {
  const builder = new GrammarBuilder();
  const converter = new SchemaConverter(schema, builder, new JsonRules(builder), strictness);
  return builder.build(converter.convert(schema, "#"));
}

/** Converts a schema into rules of a grammar that has others too. */
export function schemaNode(
  schema: unknown,
  builder: GrammarBuilder,
  json: JsonRules,
  strictness: Strictness,
): Node {
  return new SchemaConverter(schema, builder, json, strictness).convert(schema, "#");
}

class SchemaConverter implements Conversion {
  readonly builder: GrammarBuilder;
  readonly json: JsonRules;
  readonly #root: unknown;
  readonly strictness: Strictness;
  /** Rules of schemas that others refer to, by pointer. */
  readonly #referred = new Map<string, Node>();
  #depth = 0;

  constructor(root: unknown, builder: GrammarBuilder, json: JsonRules, strictness: Strictness) {
    this.#root = root;
    this.builder = builder;
    this.json = json;
    this.strictness = strictness;
  }

  convert(schema: unknown, path: string): Node {
    if (schema === true) return this.json.value;
    if (schema === false) return choice();
    if (!isObject(schema)) {
      refuseSchema("has a schema that is neither an object nor true or false", path);
    }
    if (++this.#depth > MAX_DEPTH) refuseSchema("nests too deep", path);
    const node = this.#convert(schema, path);
    this.#depth--;
    return node;
  }

  unsupported(rule: string, path: string): void {
    if (this.strictness !== "lenient") refuseSchema(rule, path);
  }

  #convert(schema: Schema, path: string): Node {
    for (const keyword of UNSUPPORTED) {
      const value = schema[keyword];
      const harmless = /^pattern|^depend/.test(keyword) && isObject(value) &&
        Object.keys(value).length === 0;
      if (value === undefined || harmless) continue;
      this.unsupported(`uses the keyword "${keyword}", which isn't supported`, path);
    }
    if (schema["uniqueItems"] === true) {
      this.unsupported('uses the keyword "uniqueItems", which isn\'t supported', path);
    }
    if (schema["$ref"] !== undefined) return this.#reference(schema, path);
    if (schema["allOf"] !== undefined) return this.#all(schema, path);
    if (schema["anyOf"] !== undefined) return this.#any(schema, "anyOf", path);
    if (schema["oneOf"] !== undefined) return this.#any(schema, "oneOf", path);
    if (Object.hasOwn(schema, "const") || schema["enum"] !== undefined) {
      return this.#values(schema, path);
    }
    return this.#types(schema, path);
  }

  #reference(schema: Schema, path: string): Node {
    const { $ref: pointer, ...rest } = schema;
    if (Object.keys(rest).some((keyword) => !REMARKS.has(keyword))) {
      const target = this.#resolve(pointer, path);
      if (target === true) return this.convert(rest, path);
      if (!isObject(target)) return choice();
      return this.convert(mergeSchemas(target, rest, path), path);
    }
    const key = String(pointer);
    let node = this.#referred.get(key);
    if (node === undefined) {
      const target = this.#resolve(pointer, path);
      const rule = this.builder.reserve();
      node = { kind: "rule", rule };
      this.#referred.set(key, node);
      this.builder.define(rule, this.convert(target, key));
    }
    return node;
  }

  #resolve(pointer: unknown, path: string): unknown {
    if (typeof pointer !== "string" || !/^#(\/|$)/.test(pointer)) {
      refuseSchema(
        `has the "$ref" ${
          JSON.stringify(pointer)
        }: only places in the schema itself, such as "#/$defs/name", are known`,
        path,
      );
    }
    let target: unknown = this.#root;
    for (const part of pointer.split("/").slice(1)) {
      const key = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const known = Array.isArray(target) || isObject(target) ? target as Schema : {};
      if (!Object.hasOwn(known, key)) {
        refuseSchema(`has the "$ref" ${JSON.stringify(pointer)}, which leads nowhere`, path);
      }
      target = known[key];
    }
    return target;
  }

  #list(schema: Schema, keyword: string, path: string): unknown[] {
    const value = schema[keyword];
    if (!Array.isArray(value) || value.length === 0) {
      refuseSchema(`has an "${keyword}" that isn't an array with elements`, path);
    }
    return value;
  }

  #all(schema: Schema, path: string): Node {
    const { allOf: _, ...rest } = schema;
    let merged: Schema = rest;
    for (const part of this.#list(schema, "allOf", path)) {
      let target = part;
      for (let i = 0; isObject(target) && target["$ref"] !== undefined; i++) {
        if (i > MAX_DEPTH) refuseSchema("refers to itself", path);
        const { $ref: pointer, ...others } = target;
        const found = this.#resolve(pointer, path);
        target = isObject(found) ? mergeSchemas(found, others, path) : found;
      }
      if (target === false) return choice();
      if (isObject(target)) merged = mergeSchemas(merged, target, path);
    }
    return this.convert(merged, path);
  }

  #any(schema: Schema, keyword: "anyOf" | "oneOf", path: string): Node {
    const { [keyword]: _, ...base } = schema;
    const branches = this.#list(schema, keyword, path);
    if (keyword === "oneOf") this.#requireDisjoint(branches, path);
    const alone = Object.keys(base).every((name) => REMARKS.has(name));
    const nodes = branches.map((branch, i) => {
      const at = child(path, keyword, i);
      if (alone || branch === true || branch === false) {
        return this.convert(branch === true ? base : branch, at);
      }
      return this.convert({ ...base, allOf: [branch] }, at);
    });
    return choice(...nodes.map((node) => this.builder.add(node)));
  }

  #requireDisjoint(branches: readonly unknown[], path: string): void {
    const targets = branches.map((branch) =>
      isObject(branch) && branch["$ref"] !== undefined
        ? this.#resolve(branch["$ref"], path)
        : branch
    );
    targets.forEach((a, i) => {
      for (const b of targets.slice(i + 1)) {
        if (areDisjoint(a, b)) continue;
        this.unsupported(
          'has a "oneOf" of which two might fit at once: use "anyOf", or a property with a different "const" in each',
          path,
        );
      }
    });
  }

  #values(schema: Schema, path: string): Node {
    const others = Object.keys(schema).find((keyword) => Object.hasOwn(KEYWORD_TYPES, keyword));
    if (others !== undefined) {
      this.unsupported(`has "${others}" beside "enum" or "const", which isn't supported`, path);
    }
    let values = Object.hasOwn(schema, "const")
      ? [schema["const"]]
      : this.#list(schema, "enum", path);
    if (schema["type"] !== undefined) {
      const types = [schema["type"]].flat();
      values = values.filter((value) => types.some((type) => isOfType(value, type)));
    }
    return oneText(values.map((value) => JSON.stringify(value)));
  }

  #types(schema: Schema, path: string): Node {
    const types = schema["type"] === undefined ? impliedTypes(schema) : [schema["type"]].flat();
    if (types.length === 0) return this.json.value;
    return choice(...types.map((type) => this.#type(schema, type, path)));
  }

  #type(schema: Schema, type: unknown, path: string): Node {
    switch (type) {
      case "object":
        return objectNode(schema, this, path);
      case "array":
        return arrayNode(schema, this, path);
      case "string":
        return stringNode(schema, this, path);
      case "number":
      case "integer":
        return numberNode(schema, type === "integer", this, path);
      case "boolean":
        return choice(text("true"), text("false"));
      case "null":
        return text("null");
      default:
        return refuseSchema(`has the "type" ${JSON.stringify(type)}, which doesn't exist`, path);
    }
  }
}

function impliedTypes(schema: Schema): string[] {
  const types = Object.keys(schema).flatMap((keyword) => KEYWORD_TYPES[keyword] ?? []);
  return [...new Set(types)];
}

function isOfType(value: unknown, type: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  if (type === "integer") return Number.isInteger(value);
  const name: string = typeof value;
  return name === type;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
