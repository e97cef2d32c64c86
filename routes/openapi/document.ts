// SPDX-License-Identifier: Apache-2.0
/** The API's description (OpenAPI 3.1). */
import type { z } from "zod";
import { PRIORITIES } from "../../src/scheduler/priority.ts";
import type { ModelInfo } from "../../src/types.ts";
import { type JsonSchema, jsonSchemaOf } from "../schemas/shown.ts";
import { ANSWERS } from "./answers.ts";
import { EVENTS } from "./events.ts";
import { type Operation, OPERATIONS } from "./operations.ts";
import { requestSchemas } from "./requests.ts";

/** The document, as far as the page and the tests read it. */
export interface OpenApi {
  openapi: string;
  info: { title: string; version: string; description: string };
  paths: Record<string, Record<string, JsonSchema>>;
  components: Record<string, Record<string, JsonSchema>>;
  security: Record<string, string[]>[];
}

/** Statuses of errors, and when they come. */
const ERRORS: Record<number, string> = {
  400: "The request is wrong: the message says which field, and what it must be.",
  401: "The key is missing or wrong.",
  403: "The request came from a web page of another origin.",
  404: "There is no such model.",
  408: "The body did not arrive in time, or the answer took longer than it may.",
  413: "The body is larger than the server's limit.",
  429: "The queue is full: Retry-After says when to come back.",
  500: "The server made a mistake, or its engine failed.",
  503: "The model is loading, or the server is stopping.",
};
const GET_ERRORS = [400, 401, 403, 404, 500, 503];

function reference(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` };
}

function jsonContent(name: string): JsonSchema {
  return { "application/json": { schema: reference(name) } };
}

function errorResponses({ method, body, anthropic }: Operation): Record<string, JsonSchema> {
  const statuses = method === "get" ? GET_ERRORS : Object.keys(ERRORS);
  const envelope = anthropic ? "AnthropicError" : "Error";
  return Object.fromEntries(
    statuses.filter((status) => body !== undefined || Number(status) !== 413)
      .map((status) => [String(status), {
        description: ERRORS[Number(status)],
        content: jsonContent(envelope),
      }]),
  );
}

/** An event as OpenAPI 3.2 sees one: its fields, whose data is text; what does not read as JSON is `[DONE]`. */
function eventSchema({ event, text }: NonNullable<Operation["streams"]>): JsonSchema {
  const data = {
    type: "string",
    contentMediaType: "application/json",
    contentSchema: reference(event),
  };
  const properties = { event: { type: "string" }, data };
  return { description: text, type: "object", properties, required: ["data"] };
}

function success({ answer, streams }: Operation): JsonSchema {
  const text = { "text/plain": { schema: { type: "string" } } };
  const events = streams && { "text/event-stream": { schema: eventSchema(streams) } };
  return {
    description: "Success",
    content: {
      ...(answer === null ? text : jsonContent(answer)),
      ...events,
    },
  };
}

function operationObject(operation: Operation): JsonSchema {
  const { summary, body, open, path } = operation;
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string", minLength: 1 },
  }));
  const unready = { 503: { description: ERRORS[503], content: jsonContent("Health") } };
  return {
    summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: jsonContent(body) } }),
    responses: {
      200: success(operation),
      ...errorResponses(operation),
      ...(operation.answer === "Health" ? unready : {}),
    },
    ...(open ? { security: [] } : {}),
  };
}

/** The document; `model` bounds tokens and dimensions. */
export function openApi(version: string, model: ModelInfo): OpenApi {
  const paths: OpenApi["paths"] = {};
  for (const operation of OPERATIONS) {
    (paths[operation.path] ??= {})[operation.method] = operationObject(operation);
  }
  const answers = Object.entries<z.ZodType>({ ...ANSWERS, ...EVENTS })
    .map(([name, schema]) => [name, jsonSchemaOf(schema)]);
  return {
    openapi: "3.1.0",
    info: {
      title: "Sounder",
      version,
      description: "An LLM inference server for long contexts. Optional fields may be null; " +
        "unknown ones are ignored, except within `sounder`. Requests that the model works for take the headers " +
        `x-sounder-priority (${
          PRIORITIES.join(", ")
        }) and x-sounder-timeout (seconds, from 1). Their ` +
        "answers without stream begin after 1.5 seconds with white space; an error that comes later " +
        "stands in the answer's place, at status 200.",
    },
    paths,
    components: {
      schemas: { ...requestSchemas(model), ...Object.fromEntries(answers) },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        header: { type: "apiKey", in: "header", name: "x-api-key" },
      },
    },
    security: [{}, { bearer: [] }, { header: [] }],
  };
}
