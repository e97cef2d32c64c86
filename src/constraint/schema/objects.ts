// SPDX-License-Identifier: Apache-2.0
/** Objects: their properties in the order of the schema, then others where they are allowed. */
import {
  choice,
  complement,
  EMPTY,
  intersection,
  type Node,
  sequence,
  star,
  text,
} from "../grammar.ts";
import { asJsonCharacters, quoted, STRING_CHARACTER } from "../json_grammar.ts";
import { child, type Conversion, isObject, refuseSchema, type Schema } from "./schema.ts";

interface Property {
  name: string;
  value: Node;
  required: boolean;
}

export function objectNode(schema: Schema, to: Conversion, path: string): Node {
  const { json } = to;
  const properties = propertiesOf(schema, to, path);
  const known = isObject(schema["properties"]) && Object.keys(schema["properties"]).length > 0;
  const others = schema["additionalProperties"] ?? schema["unevaluatedProperties"] ?? !known;
  if (others === false) return json.enclosed("{", members(properties, null, to), "}");
  const value = others === true
    ? json.value
    : to.convert(others, child(path, "additionalProperties"));
  const names = properties.map(({ name }) => name);
  const key = names.length === 0 ? json.string : quoted(otherNames(names));
  const other = to.builder.add(json.member(key, to.builder.add(value)));
  return json.enclosed("{", members(properties, other, to), "}");
}

function propertiesOf(schema: Schema, to: Conversion, path: string): Property[] {
  const { properties = {}, required = [] } = schema;
  if (!isObject(properties)) refuseSchema('has "properties" that aren\'t an object', path);
  if (!Array.isArray(required) || required.some((name) => typeof name !== "string")) {
    refuseSchema('has a "required" that isn\'t an array of strings', path);
  }
  const needed = new Set(required as string[]);
  const list = Object.entries(properties).map(([name, value]): Property => ({
    name,
    value: to.builder.add(to.convert(value, child(path, "properties", name))),
    required: needed.has(name),
  }));
  for (const name of needed) {
    if (Object.hasOwn(properties, name)) continue;
    const value = schema["additionalProperties"] ?? true;
    list.push({
      name,
      value: to.builder.add(to.convert(value, child(path, "additionalProperties"))),
      required: true,
    });
  }
  return list;
}

/** Members from the last to the first: each knows what may follow it, at the start and behind others. */
function members(properties: readonly Property[], other: Node | null, to: Conversion): Node {
  const { json, builder } = to;
  let first: Node = EMPTY;
  let later: Node = EMPTY;
  if (other !== null) {
    later = builder.add(star(sequence(json.comma, other)));
    first = choice(EMPTY, sequence(other, later));
  }
  for (const { name, value, required } of properties.toReversed()) {
    const member = builder.add(json.member(text(JSON.stringify(name)), value));
    const asFirst = sequence(member, later);
    const asLater = sequence(json.comma, member, later);
    first = required ? asFirst : builder.add(choice(asFirst, first));
    later = builder.add(required ? asLater : choice(asLater, later));
  }
  return first;
}

/** The content of strings that are none of these names. */
function otherNames(names: readonly string[]): Node {
  const anything = star(STRING_CHARACTER);
  const starts = new Map<string, string[]>();
  let endsHere = false;
  for (const name of names) {
    const [char = ""] = name;
    if (char === "") endsHere = true;
    else starts.set(char, [...starts.get(char) ?? [], name.slice(char.length)]);
  }
  const codes = [...starts.keys()].map((char): [number, number] => {
    const code = char.codePointAt(0)!;
    return [code, code];
  });
  // Characters are written in one way here, so that none of a name hides behind an escape.
  const different = sequence(asJsonCharacters(complement(codes)), anything);
  const same = [...starts].map(([char, rests]) => {
    const code = char.codePointAt(0)!;
    return sequence(
      asJsonCharacters(intersection([[code, code]], [[0, 0x10ffff]])),
      otherNames(rests),
    );
  });
  return choice(...(endsHere ? [] : [EMPTY]), different, ...same);
}
