// SPDX-License-Identifier: Apache-2.0
/** Contents that come in parts: of every type that holds text, the key under which it does. */
import { refuse, show } from "./fields.ts";
import type { JsonSchema } from "./shown.ts";

/** Types of parts, and where the text of each is. The first one is the example in errors. */
export type TextParts = ReadonlyMap<string, string>;

/** A content of these parts, as {@linkcode textOf} reads it. */
export function contentShown(texts: TextParts, more: JsonSchema[] = []): JsonSchema {
  const parts = [...texts].map(([type, key]) => ({
    type: "object",
    properties: { type: { const: type }, [key]: { type: "string" } },
    required: ["type", key],
  }));
  return { anyOf: [{ type: "string" }, { type: "array", items: { anyOf: [...parts, ...more] } }] };
}

/** Parts of chat messages. */
export const CHAT_PARTS: TextParts = new Map([["text", "text"], ["refusal", "refusal"]]);

/** A part and its type. */
export function typedPart(
  part: unknown,
  example: string,
  path: PropertyKey[],
): Record<string, unknown> {
  if (typeof part === "object" && part !== null && !Array.isArray(part)) {
    return part as Record<string, unknown>;
  }
  return refuse(
    path,
    `must be an object such as {"type": "${example}", "text": "..."}, not ${show(part)}`,
  );
}

/** The text of a part. */
export function partText(part: unknown, texts: TextParts, path: PropertyKey[]): string {
  const given = typedPart(part, [...texts.keys()][0]!, path);
  const key = typeof given["type"] === "string" ? texts.get(given["type"]) : undefined;
  if (key === undefined) {
    refuse(path, `has the type ${show(given["type"])}: this server reads only text`);
  }
  const said = given[key];
  if (typeof said !== "string") refuse([...path, key], `must be a string, not ${show(said)}`);
  return said.toWellFormed();
}

/** A content that is a text or an array of text parts. */
export function textOf(content: unknown, texts: TextParts, path: PropertyKey[]): string {
  if (typeof content === "string") return content.toWellFormed();
  if (!Array.isArray(content)) {
    refuse(path, `must be a string or an array of text parts, not ${show(content ?? null)}`);
  }
  return content.map((part, i) => partText(part, texts, [...path, i])).join("");
}
