// SPDX-License-Identifier: Apache-2.0
/** Arrays: items, tuples, and how many. */
import { choice, EMPTY, type Node, optional, repeat, sequence } from "../grammar.ts";
import { child, type Conversion, countOf, refuseSchema, type Schema } from "./schema.ts";

export function arrayNode(schema: Schema, to: Conversion, path: string): Node {
  const { json } = to;
  const min = countOf(schema, "minItems", path, 0);
  const max = countOf(schema, "maxItems", path, Infinity);
  if (max < min) refuseSchema('has a "maxItems" below its "minItems"', path);
  const { prefix, rest } = itemsOf(schema, to, path);
  if (prefix.length === 0 && rest === null) {
    return min > 0 ? choice() : json.enclosed("[", EMPTY, "]");
  }
  return json.enclosed("[", contents(prefix, rest, min, max, json.comma), "]");
}

/** The items in fixed places, and what follows them; null: nothing may. */
function itemsOf(
  schema: Schema,
  to: Conversion,
  path: string,
): { prefix: Node[]; rest: Node | null } {
  // Before draft 2020-12, an array in `items` was what `prefixItems` is now.
  const old = Array.isArray(schema["items"]);
  const tuple = old ? schema["items"] : schema["prefixItems"] ?? [];
  if (!Array.isArray(tuple)) refuseSchema('has a "prefixItems" that isn\'t an array', path);
  const name = old ? "items" : "prefixItems";
  const prefix = tuple.map((item, i) => to.builder.add(to.convert(item, child(path, name, i))));
  const restName = old ? "additionalItems" : "items";
  const rest = schema[restName] ?? (tuple.length > 0 ? false : true);
  if (rest === false) return { prefix, rest: null };
  return { prefix, rest: to.builder.add(to.convert(rest, child(path, restName))) };
}

function contents(
  prefix: readonly Node[],
  rest: Node | null,
  min: number,
  max: number,
  comma: Node,
): Node {
  const places = prefix.length;
  const least = Math.max(0, min - places);
  let after: Node;
  if (places === 0) {
    const more = repeat(sequence(comma, rest!), Math.max(0, min - 1), max - 1);
    const items = sequence(rest!, more);
    return max === 0 ? EMPTY : min === 0 ? optional(items) : items;
  } else if (rest === null) after = least > 0 ? choice() : EMPTY;
  else if (max <= places) after = EMPTY;
  else after = repeat(sequence(comma, rest), least, max - places);
  for (let i = places - 1; i >= 0; i--) {
    if (i >= max) {
      after = EMPTY;
      continue;
    }
    const item = sequence(...(i > 0 ? [comma] : []), prefix[i]!, after);
    after = i >= min ? optional(item) : item;
  }
  return after;
}
