// SPDX-License-Identifier: Apache-2.0
/** What the routes take, out of the schemas that check it. */
import { z } from "zod";
import type { ModelInfo } from "../../src/types.ts";
import { messagesSchema } from "../schemas/anthropic.ts";
import { messageToolShape, toolBlocksShown } from "../schemas/anthropic_tools.ts";
import { TEXT, turnSchema } from "../schemas/anthropic_turns.ts";
import { chatSchema, promptShape } from "../schemas/chat.ts";
import { completionSchema } from "../schemas/completions.ts";
import { embeddingsSchema } from "../schemas/embeddings.ts";
import { fields } from "../schemas/fields.ts";
import { MAX_MESSAGES, messageShown } from "../schemas/messages.ts";
import { contentShown } from "../schemas/parts.ts";
import { promptsShown } from "../schemas/prompt.ts";
import { inputShown } from "../schemas/response_input.ts";
import { responsesSchema } from "../schemas/responses.ts";
import { type JsonSchema, jsonSchemaOf, requiring } from "../schemas/shown.ts";
import { MAX_DETOKENIZE, tokenizeSchema } from "../schemas/tokenize.ts";

/** The schema with fields that are read by hand and must be there. */
function withFields(schema: z.ZodType, must: Record<string, JsonSchema>): JsonSchema {
  return requiring(jsonSchemaOf(schema), must);
}

function listOf(items: JsonSchema): JsonSchema {
  return { type: "array", items, minItems: 1, maxItems: MAX_MESSAGES };
}

/** A conversation in Anthropic's shape, with `schema`'s fields. */
function turns(schema: z.ZodType): JsonSchema {
  const content = contentShown(TEXT);
  const blocks = toolBlocksShown(TEXT);
  const turn = requiring(jsonSchemaOf(turnSchema), { content: contentShown(TEXT, blocks) });
  const shown = withFields(schema, { messages: listOf(turn) });
  const system = { anyOf: [content, { type: "null" }] };
  return { ...shown, properties: { ...shown["properties"] as JsonSchema, system } };
}

/** The bodies by their names. Tokens and dimensions are bounded by the model. */
export function requestSchemas(model: ModelInfo): Record<string, JsonSchema> {
  const messages = listOf(messageShown());
  const prompts = promptsShown(model);
  const token = { type: "integer", minimum: 0, maximum: model.vocabulary - 1 };
  const tokens = { type: "array", items: token, maxItems: MAX_DETOKENIZE };
  const text = { type: "string" };
  const chat = withFields(fields(promptShape), { messages });
  return {
    ChatRequest: withFields(chatSchema, { messages }),
    CompletionRequest: withFields(completionSchema, { prompt: prompts }),
    EmbeddingsRequest: withFields(embeddingsSchema(model), { input: prompts }),
    ResponsesRequest: withFields(responsesSchema, { input: inputShown() }),
    MessagesRequest: turns(messagesSchema),
    CountTokensRequest: turns(fields(messageToolShape)),
    TokenizeRequest: {
      ...jsonSchemaOf(tokenizeSchema),
      anyOf: [requiring({}, { prompt: text }), requiring({}, { content: text }), chat],
    },
    DetokenizeRequest: withFields(fields({}), { tokens }),
  };
}
