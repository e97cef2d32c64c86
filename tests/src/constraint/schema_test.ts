// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConstraintCompiler, formatGrammar } from "../../../src/constraint/compiler.ts";
import { Failure } from "../../../src/errors.ts";
import {
  constraintFor,
  drawAnswer,
  WALK_TOKENIZER,
  WALK_VOCABULARY,
} from "../../fixtures/constraint_walks.ts";
import { allows, assertDrawsValid, type Schema } from "../../fixtures/schema_judge.ts";

Deno.test("schemas refer to each other and to themselves", () => {
  const tree = {
    $defs: {
      node: {
        type: "object",
        properties: {
          value: { type: "integer" },
          children: { type: "array", items: { $ref: "#/$defs/node" }, maxItems: 2 },
        },
        required: ["value", "children"],
        additionalProperties: false,
      },
    },
    $ref: "#/$defs/node",
  };
  assertDrawsValid(tree, 20);
  assert(allows(tree, '{"value": 1, "children": [{"value": 2, "children": []}]}'));
  const list = { anyOf: [{ type: "null" }, { type: "array", prefixItems: [true, { $ref: "#" }] }] };
  assert(allows(list, "[1, [2, [3, null]]]"));
});

Deno.test("allOf says all at once, anyOf adds to what stands beside it", () => {
  const base = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
  const more = { type: "object", properties: { b: { type: "string" } }, required: ["b"] };
  const both = { allOf: [base, more] };
  assertDrawsValid(both, 10);
  assertEquals(allows(both, '{"a":1}'), false);
  const either = { ...base, anyOf: [{ properties: { c: { const: 1 } }, required: ["c"] }, more] };
  assert(allows(either, '{"a":1,"c":1}') && allows(either, '{"a":1,"b":""}'));
  assertEquals(allows(either, '{"a":1}'), false);
});

Deno.test("oneOf is taken where its branches can be told apart", () => {
  const tagged = (kind: string, value: Schema) => ({
    type: "object",
    properties: { kind: { const: kind }, value },
    required: ["kind", "value"],
    additionalProperties: false,
  });
  const schema = { oneOf: [tagged("n", { type: "number" }), tagged("s", { type: "string" })] };
  assertDrawsValid(schema, 10);
  const error = assertThrows(
    () =>
      formatGrammar({ kind: "schema", strict: true, schema: { oneOf: [{}, { type: "null" }] } }),
    Failure,
  );
  assert(error.message.includes("oneOf"));
});

Deno.test("additional properties never take a name that has a schema of its own", () => {
  const schema = { type: "object", properties: { ab: { const: 1 } }, additionalProperties: true };
  assert(allows(schema, '{"a":2,"abc":3,"b":4}') && allows(schema, '{"ab":1,"x":5}'));
  for (const key of ["ab", "\\u0061b", "a\\u0062"]) {
    assertEquals(allows(schema, `{"x":5,"${key}":2}`), false, key);
  }
});

Deno.test("objects with named properties have no others unless the schema says so", () => {
  const schema = { type: "object", properties: { a: { type: "integer" } } };
  assert(allows(schema, "{}") && allows(schema, '{"a":1}') && !allows(schema, '{"b":1}'));
  assert(allows({ type: "object" }, '{"b":[1,{"c":null}]}'));
});

Deno.test("what can't be kept is refused with the keyword and its place", () => {
  const inside = (schema: Schema) => ({ type: "object", properties: { "a/b": schema } });
  const cases: [Schema, RegExp][] = [
    [{ not: {} }, /"not".*at #\/properties\/a~1b\)/],
    [{ type: "array", uniqueItems: true }, /"uniqueItems"/],
    [{ type: "object", patternProperties: { "^a": {} } }, /"patternProperties"/],
    [{ type: "object", minProperties: 2 }, /"minProperties"/],
    [{ if: {}, then: {} }, /"if"|"then"/],
    [{ type: "array", contains: {} }, /"contains"/],
    [{ type: "string", pattern: "(?=a)b" }, /"pattern" that looks ahead/],
    [{ type: "string", pattern: "a", maxLength: 3 }, /"minLength" or "maxLength" beside "pattern"/],
    [{ type: "string", format: "iban" }, /"format" "iban".*uuid/],
    [{ type: "number", multipleOf: 3 }, /"multipleOf"/],
    [{ type: "strin" }, /"type" "strin"/],
    [{ $ref: "https://example.com/a" }, /"\$ref"/],
    [{ $ref: "#/$defs/none" }, /leads nowhere/],
    [{ type: "array", minItems: -1 }, /"minItems"/],
    [{ enum: [] }, /"enum"/],
    [{ properties: 3 }, /"properties"/],
    [5, /neither an object/],
  ];
  for (const [schema, sentence] of cases) {
    const error = assertThrows(
      () => formatGrammar({ kind: "schema", schema: inside(schema), strict: true }),
      Failure,
      undefined,
      JSON.stringify(schema),
    );
    assert(sentence.test(error.message), `${error.message} for ${JSON.stringify(schema)}`);
  }
});

Deno.test("a format that isn't known is a remark unless the schema is strict", () => {
  const schema = { type: "string", format: "iban" };
  const answer = drawAnswer(constraintFor({ kind: "schema", schema, strict: false }), 1);
  assertEquals(typeof JSON.parse(answer!), "string");
});

Deno.test("branches that are told apart by OpenAPI's discriminator may be closed, and so may those beside a type", () => {
  const pet = (type: string, field: string) => ({
    type: "object",
    properties: { type: { const: type }, [field]: { type: "boolean" } },
    required: ["type", field],
    additionalProperties: false,
  });
  const branches = [{ $ref: "#/$defs/Dog" }, { $ref: "#/$defs/Cat" }];
  const pydantic = {
    $defs: { Dog: pet("dog", "barks"), Cat: pet("cat", "purrs") },
    type: "object",
    properties: {
      pet: {
        oneOf: branches,
        discriminator: { propertyName: "type", mapping: { dog: "#/$defs/Dog" } },
      },
    },
    required: ["pet"],
    additionalProperties: false,
  };
  assertDrawsValid(pydantic, 10);
  assert(allows(pydantic, '{"pet":{"type":"cat","purrs":true}}'));
  assertEquals(allows(pydantic, '{"pet":{"type":"cat","barks":true}}'), false);
  const typed = { $defs: pydantic.$defs, type: "object", anyOf: branches };
  assertDrawsValid(typed, 10);
  assert(allows(typed, '{"type":"dog","barks":false}'));
});

Deno.test("additional properties that must fit a schema bind those that another schema of allOf names", () => {
  const bound = {
    allOf: [{ additionalProperties: { type: "integer" } }, {
      properties: { a: { type: "string" } },
    }],
  };
  assertThrows(
    () => formatGrammar({ kind: "schema", strict: false, schema: bound }),
    Failure,
    "additionalProperties",
  );
  const named = { type: "object", properties: { a: { type: "integer" } } };
  const both = { allOf: [named, { ...named, additionalProperties: { type: "boolean" } }] };
  assertDrawsValid(both, 10);
  assert(allows(both, '{"a":1,"b":true}') && !allows(both, '{"a":1,"b":1}'));
});

Deno.test("one of thousands of values that begin alike is read without ambiguity", () => {
  const values = Array.from({ length: 9000 }, (_, i) => `value ${i}`);
  const schema = { enum: [...values, "", "😀", "😁", "value", 1, 12, true, null] };
  const constraint = constraintFor({ kind: "schema", schema, strict: true });
  const fits = (answer: string) => {
    const matcher = constraint.matcher(new Set());
    matcher.read(new TextEncoder().encode(answer));
    return matcher.accepting;
  };
  for (const value of schema.enum) assert(fits(JSON.stringify(value)), `${value}`);
  for (const other of ['"value 9000"', '"val"', "123", '"😂"']) assertEquals(fits(other), false);
  const texts = constraintFor({ kind: "choice", texts: ["", ...values, "😀", "😁"] });
  for (let seed = 0; seed < 20; seed++) {
    const answer = drawAnswer(texts, seed) ?? "cut";
    assert(values.includes(answer) || ["", "😀", "😁"].includes(answer), answer);
  }
});

Deno.test("answers need no white space, and never have much", () => {
  const schema = { type: "object", properties: { a: { type: "array", items: true } } };
  assert(allows(schema, '{"a":[1,2]}') && allows(schema, '{\n  "a": [\n    1,\n    2\n  ]\n}'));
  assertEquals(allows(schema, '{  "a":[]}'), false);
  assertEquals(allows(schema, `{\n${" ".repeat(21)}"a":[]}`), false);
});

Deno.test("hostile schemas end soon, one way or the other", () => {
  const chain: Schema = { $defs: {} };
  for (let i = 0; i < 40; i++) {
    const next = { $ref: `#/$defs/d${i + 1}` };
    chain.$defs[`d${i}`] = { properties: { [`p${i}`]: true }, anyOf: [next, next] };
  }
  chain.$defs.d40 = { type: "object" };
  chain.$ref = "#/$defs/d0";
  const deep = Array.from({ length: 5000 }).reduce<Schema>((items) => ({ items }), {});
  const wide = { type: "object", properties: {} as Schema };
  for (let i = 0; i < 50_000; i++) wide.properties[`p${i}`] = {};
  const tuple = { type: "array", prefixItems: Array.from({ length: 15_000 }, () => true) };
  const longName = { properties: { ["a".repeat(50_000)]: true }, additionalProperties: true };
  const self = [{ $ref: "#" }, { allOf: [{ $ref: "#" }] }];
  for (const schema of [chain, deep, wide, tuple, longName, ...self]) {
    const started = performance.now();
    const compiler = new ConstraintCompiler(WALK_TOKENIZER, WALK_VOCABULARY);
    const format = { kind: "schema" as const, schema, strict: false };
    assertThrows(() => compiler.compile({ format, param: "guided_json" }), Failure);
    assert(performance.now() - started < 10_000);
  }
});

Deno.test("a cut character comes to an end before its string does", () => {
  const matcher = constraintFor({ kind: "schema", schema: { type: "string" }, strict: true })
    .matcher(new Set());
  matcher.read([0x22, 0xe6, 0x97]);
  const next = WALK_TOKENIZER.tokenBytes(0x22);
  matcher.read(next);
  assertEquals(matcher.matches, false);
});
