// SPDX-License-Identifier: Apache-2.0
/** What the routes take, out of the schemas that check it. */
import { z } from "zod";
import type { ModelInfo } from "../../src/types.ts";
import { messagesSchema, TEXT, turnSchema } from "../schemas/anthropic.ts";
import { chatSchema, promptShape } from "../schemas/chat.ts";
import { completionSchema } from "../schemas/completions.ts";
import { embeddingsSchema } from "../schemas/embeddings.ts";
import { fields } from "../schemas/fields.ts";
import { MAX_MESSAGES, messageSchema } from "../schemas/messages.ts";
import { contentShown } from "../schemas/parts.ts";
import { promptsShown } from "../schemas/prompt.ts";
import { inputShown } from "../schemas/response_input.ts";
import { responsesSchema } from "../schemas/responses.ts";
import { type JsonSchema, jsonSchemaOf } from "../schemas/shown.ts";
import { MAX_DETOKENIZE, tokenizeSchema } from "../schemas/tokenize.ts";

/** The schema with fields that are read by hand; those in `required` must be there. */
function withFields(schema: z.ZodType, more: Record<string, JsonSchema>, required: string[]) {
  const shown = jsonSchemaOf(schema);
  const names = [...required, ...shown["required"] as string[] | undefined ?? []];
  return {
    ...shown,
    properties: { ...more, ...shown["properties"] as JsonSchema },
    ...(names.length === 0 ? {} : { required: names }),
  };
}

function listOf(items: JsonSchema): JsonSchema {
  return { type: "array", items, minItems: 1, maxItems: MAX_MESSAGES };
}

/** The bodies by their names. Tokens and dimensions are bounded by the model. */
export function requestSchemas(model: ModelInfo): Record<string, JsonSchema> {
  const messages = listOf(jsonSchemaOf(messageSchema));
  const turns = {
    messages: listOf(jsonSchemaOf(turnSchema)),
    system: contentShown(TEXT),
  };
  const prompts = promptsShown(model);
  const tokens = {
    type: "array",
    items: { type: "integer", minimum: 0 },
    maxItems: MAX_DETOKENIZE,
  };
  const tokenizeChat = jsonSchemaOf(fields(promptShape))["properties"] as JsonSchema;
  return {
    ChatRequest: withFields(chatSchema, { messages }, ["messages"]),
    CompletionRequest: withFields(completionSchema, { prompt: prompts }, ["prompt"]),
    EmbeddingsRequest: withFields(embeddingsSchema(model), { input: prompts }, ["input"]),
    ResponsesRequest: withFields(responsesSchema, { input: inputShown() }, ["input"]),
    MessagesRequest: withFields(messagesSchema, turns, ["messages"]),
    CountTokensRequest: withFields(fields({}), turns, ["messages"]),
    TokenizeRequest: {
      ...withFields(
        tokenizeSchema,
        { messages, ...tokenizeChat as Record<string, JsonSchema> },
        [],
      ),
      anyOf: ["prompt", "content", "messages"].map((name) => ({ required: [name] })),
    },
    DetokenizeRequest: withFields(fields({}), { tokens }, ["tokens"]),
  };
}
