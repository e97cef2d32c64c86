// SPDX-License-Identifier: Apache-2.0
/** Every answer under a schema's constraint is JSON and valid, which another implementation judges. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Failure } from "../../../src/errors.ts";
import { ajv, allows, assertValid, draw, type Schema } from "../../fixtures/schema_judge.ts";

/** Some bounds leave no number at all, which is refused. */
function allowsSome(schema: Schema, answer: string): boolean {
  try {
    return allows(schema, answer);
  } catch (error) {
    if (error instanceof Failure && /allows no text/.test(error.message)) return false;
    throw error;
  }
}

const names = fc.constantFrom("name", "na", "a", "ab", "é", 'q"', "x\\y", "tags", "");
const numbers = fc.oneof(
  fc.integer({ min: -1200, max: 1200 }),
  fc.integer({ min: -12000, max: 12000 }).map((value) => value / 100),
  fc.constantFrom(0, 1e-3, 1e6, -1e6, 0.5, 99.99),
);
const bounds = fc.tuple(numbers, numbers, fc.boolean(), fc.boolean(), fc.boolean()).map(
  ([a, b, openLow, openHigh, one]): Schema => {
    const [low, high] = [Math.min(a, b), Math.max(a, b) + 3];
    return {
      [openLow ? "exclusiveMinimum" : "minimum"]: low,
      ...(one ? {} : { [openHigh ? "exclusiveMaximum" : "maximum"]: high }),
    };
  },
);
const upper = bounds.map((both): Schema => {
  const value = both.minimum ?? both.exclusiveMinimum;
  return { [both.minimum === undefined ? "exclusiveMaximum" : "maximum"]: value };
});
const formats = fc.constantFrom(
  "date",
  "time",
  "date-time",
  "duration",
  "email",
  "hostname",
  "ipv4",
  "ipv6",
  "uuid",
  "uri",
); // deno-fmt-ignore
const patterns = fc.constantFrom("^a+$", "b", "^[a-z]{2,12}\\d", "x$", '^"?[^"]*"$', "^(é|日){1,3}$");
const simple: fc.Arbitrary<Schema> = fc.oneof(
  fc.constantFrom<Schema>({ type: "string" }, { type: "boolean" }, { type: "null" }, {}, true),
  fc.constantFrom<Schema>({ type: "integer" }, { type: "number" }, { type: ["string", "null"] }),
  fc.tuple(fc.constantFrom("number", "integer"), bounds).map(([type, b]) => ({ type, ...b })),
  fc.tuple(fc.constantFrom("number", "integer"), upper).map(([type, b]) => ({ type, ...b })),
  // With many digits, a validator's division by a tenth errs.
  numbers.map((n) => ({ type: "number", multipleOf: 0.1, minimum: n, maximum: n + 90 })),
  fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 30 })).map(([min, more]) => ({
    type: "string",
    minLength: min,
    maxLength: min + more,
  })),
  fc.integer({ min: 1, max: 12 }).map((minLength) => ({ type: "string", minLength })),
  formats.map((format) => ({ type: "string", format })),
  patterns.map((pattern) => ({ type: "string", pattern })),
  fc.array(fc.jsonValue({ maxDepth: 2 }), { minLength: 1, maxLength: 4 }).map((values) => ({
    enum: values,
  })),
  fc.jsonValue({ maxDepth: 1 }).map((value) => ({ const: value })),
);
const schemas: fc.Arbitrary<Schema> = fc.letrec<{ schema: Schema }>((tie) => ({
  schema: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    simple,
    fc.tuple(
      fc.uniqueArray(fc.tuple(names, tie("schema"), fc.boolean()), {
        selector: ([name]) => name,
        maxLength: 4,
      }),
      fc.constantFrom<Schema>(undefined, true, false, { type: "integer" }),
    ).map(([properties, others]) => ({
      type: "object",
      properties: Object.fromEntries(properties.map(([name, schema]) => [name, schema])),
      required: properties.filter(([, , required]) => required).map(([name]) => name),
      ...(others === undefined ? {} : { additionalProperties: others }),
    })),
    fc.tuple(tie("schema"), fc.nat(3), fc.nat(4), fc.boolean()).map(([items, min, more, open]) => ({
      type: "array",
      items,
      minItems: min,
      ...(open ? {} : { maxItems: min + more }),
    })),
    fc.tuple(fc.array(tie("schema"), { minLength: 1, maxLength: 3 }), fc.boolean(), fc.nat(3)).map(
      ([prefixItems, items, minItems]) => ({
        type: "array",
        prefixItems,
        items,
        minItems: items ? minItems : Math.min(minItems, prefixItems.length),
      }),
    ),
    fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
  ),
})).schema;

Deno.test("whatever the schema and the draws, answers are JSON that it finds valid", () => {
  fc.assert(
    fc.property(schemas, fc.integer(), (schema, seed) => {
      const answer = draw(schema, seed);
      fc.pre(answer !== null);
      assertValid(schema, answer);
    }),
    { seed: 1, numRuns: 500 },
  );
});

Deno.test("values with names that objects have anyway are written like any others", () => {
  for (const name of ["valueOf", "toString", "constructor", "__proto__", "hasOwnProperty"]) {
    const value = JSON.parse(`{"${name}": {"${name}": 1}}`);
    for (const schema of [{ const: value }, { enum: [value] }]) {
      const answer = draw(schema, 1);
      assert(answer !== null);
      assertEquals(JSON.stringify(assertValid(schema, answer)), JSON.stringify(value));
      assert(!allows(schema, `{"${name}":1}`));
    }
    const typed = JSON.parse(
      `{"type":"object","required":["${name}"],"additionalProperties":false,` +
        `"properties":{"${name}":{"type":"boolean"}}}`,
    );
    assert(allows(typed, `{"${name}":true}`), name);
    assert(!allows(typed, "{}"), name);
    assert(!allows(typed, `{"${name}":1}`), name);
  }
});

Deno.test("numbers on both sides of a bound are told apart, as a validator does", () => {
  const text = fc.oneof(
    numbers.map(String),
    fc.tuple(fc.integer({ min: -30, max: 30 }), fc.nat(999)).map(([a, b]) => `${a}.${b}`),
  );
  const types = fc.constantFrom("number", "integer");
  fc.assert(
    fc.property(types, fc.oneof(bounds, upper), text, (type, bound, number) => {
      const schema = { type, ...bound };
      const isValid = ajv.validate(schema, JSON.parse(number));
      // 1.0 is an integer to a validator; here integers have no point. And -0 is left to 0.
      const isWritten = /e/.test(number) || /^-0(\.0*)?$/.test(number) ||
        (type === "integer" && number.includes("."));
      if (isWritten) return;
      assertEquals(
        allowsSome(schema, number),
        isValid,
        `${number} under ${JSON.stringify(schema)}`,
      );
    }),
    { seed: 2, numRuns: 1500 },
  );
});
