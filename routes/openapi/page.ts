// SPDX-License-Identifier: Apache-2.0
/** The API's description as a page: no script, nothing from elsewhere. */
import { html, raw } from "hono/html";
import type { JsonSchema } from "../schemas/shown.ts";
import type { OpenApi } from "./document.ts";

type Html = ReturnType<typeof html>;

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
summary { cursor: pointer; padding: .35rem 0; }
details { border-top: 1px solid #8884; }
details > :not(summary) { margin-left: 1rem; }
b { display: inline-block; min-width: 3.2rem; font-size: .8rem; }
code { font: .9em ui-monospace, monospace; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
`;

/** The schema in a few words. */
export function typeText(schema: JsonSchema): string {
  const { type, anyOf, items, minimum, maximum } = schema;
  if ("const" in schema) return JSON.stringify(schema["const"]);
  if (Array.isArray(schema["enum"])) {
    return schema["enum"].map((value) => JSON.stringify(value)).join(" | ");
  }
  if (Array.isArray(anyOf)) return [...new Set(anyOf.map(typeText))].join(" | ");
  if (type === "array") return `array of ${typeText(items as JsonSchema ?? {})}`;
  if (type === "object") {
    const names = Object.keys(schema["properties"] as JsonSchema ?? {});
    return names.length === 0 ? "object" : `{${names.join(", ")}}`;
  }
  const bounds = minimum === undefined && maximum === undefined
    ? ""
    : ` ${minimum ?? "…"} to ${maximum === Number.MAX_SAFE_INTEGER ? "…" : maximum ?? "…"}`;
  return `${type ?? "anything"}${bounds}`;
}

function fieldTable(schema: JsonSchema): Html {
  const required = new Set(schema["required"] as string[] | undefined);
  const rows = Object.entries(schema["properties"] as Record<string, JsonSchema> ?? {});
  return html`<table>${
    rows.map(([name, field]) =>
      html`
        <tr>
          <td><code>${name}</code>${required.has(name) ? " *" : ""}</td>
          <td>${typeText(field)}</td>
        </tr>
      `
    )
  }</table>`;
}

function schemaOf(content: JsonSchema | undefined, api: OpenApi): JsonSchema | null {
  const json = content?.["application/json"] as { schema: { $ref: string } } | undefined;
  const name = json?.schema.$ref.split("/").at(-1);
  return name === undefined ? null : api.components["schemas"]![name]!;
}

interface Described {
  summary: string;
  requestBody?: { content: JsonSchema };
  responses: Record<string, { description: string; content: JsonSchema }>;
}

function operationPart(path: string, method: string, operation: Described, api: OpenApi): Html {
  const body = schemaOf(operation.requestBody?.content, api);
  const answer = schemaOf(operation.responses["200"]!.content, api);
  const events = operation.responses["200"]!.content["text/event-stream"] as
    | { schema: { description: string } }
    | undefined;
  const errors = Object.entries(operation.responses).filter(([status]) => status !== "200");
  return html`<details><summary><b>${method.toUpperCase()}</b> <code>${path}</code>
${operation.summary}</summary>
${body === null ? "" : html`<h3>Body</h3>${fieldTable(body)}`}
${answer === null ? "" : html`<h3>Answer</h3>${fieldTable(answer)}`}
${
    events === undefined
      ? ""
      : html`<p>With <code>"stream": true</code>: ${events.schema.description}.</p>`
  }
<h3>Errors</h3><table>${
    errors.map(([status, { description }]) =>
      html`
        <tr>
          <td>${status}</td>
          <td>${description}</td>
        </tr>
      `
    )
  }</table></details>`;
}

/** The page. */
export function docsPage(api: OpenApi): Html {
  const { title, version, description } = api.info;
  const parts = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      operationPart(path, method, operation as unknown as Described, api)
    )
  );
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <title>${title} API</title>
        <meta name="viewport" content="width=device-width">
        <style>${raw(STYLE)}</style>
      </head>
      <body><h1>${title} ${version}</h1><p>${description} Fields with * are required. The same for machines:
    <a href="/openapi.json">/openapi.json</a>.</p>${parts}</body>
    </html>
  `;
}
