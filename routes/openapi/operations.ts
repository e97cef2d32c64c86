// SPDX-License-Identifier: Apache-2.0
/** Every route, with what it takes and answers. A test compares with the routes that there are. */
import type { AnswerName } from "./answers.ts";
import type { EventName } from "./events.ts";

/** A route and method. */
export interface Operation {
  path: string;
  method: "get" | "post" | "delete";
  summary: string;
  /** The request's schema. */
  body?: string;
  /** The answer's schema; null: plain text. */
  answer: AnswerName | null;
  /** The objects in the events of a stream, and what they are in words. */
  streams?: { event: EventName; text: string };
  /** Needs no key. */
  open?: true;
  /** Errors are in Anthropic's envelope. */
  anthropic?: true;
}

/** All of them, those first that people look for. */
export const OPERATIONS: readonly Operation[] = [
  {
    path: "/v1/chat/completions",
    method: "post",
    summary: "An answer to a conversation",
    body: "ChatRequest",
    answer: "ChatCompletion",
    streams: { event: "ChatCompletionChunk", text: "chat.completion.chunk objects, then [DONE]" },
  },
  {
    path: "/v1/completions",
    method: "post",
    summary: "Text that goes on from a prompt, or from many",
    body: "CompletionRequest",
    answer: "Completion",
    streams: { event: "CompletionChunk", text: "text_completion objects, then [DONE]" },
  },
  {
    path: "/v1/responses",
    method: "post",
    summary: "OpenAI's Responses; nothing is stored",
    body: "ResponsesRequest",
    answer: "Response",
    streams: {
      event: "ResponseEvent",
      text: "response.* events, each with its type and a rising sequence_number",
    },
  },
  {
    path: "/v1/embeddings",
    method: "post",
    summary: "The mean of a text's hidden states, of length 1",
    body: "EmbeddingsRequest",
    answer: "Embeddings",
  },
  {
    path: "/v1/messages",
    method: "post",
    summary: "Anthropic's Messages",
    body: "MessagesRequest",
    answer: "Message",
    streams: { event: "MessageEvent", text: "message_start, content_block_* and message_* events" },
    anthropic: true,
  },
  {
    path: "/v1/messages/count_tokens",
    method: "post",
    summary: "How many tokens a conversation has as a prompt",
    body: "CountTokensRequest",
    answer: "TokenCount",
    anthropic: true,
  },
  { path: "/v1/models", method: "get", summary: "The model and its aliases", answer: "ModelList" },
  { path: "/v1/models/{id}", method: "get", summary: "One of them", answer: "Model" },
  {
    path: "/tokenize",
    method: "post",
    summary: "A text or a conversation as tokens",
    body: "TokenizeRequest",
    answer: "Tokens",
  },
  {
    path: "/detokenize",
    method: "post",
    summary: "Tokens as text",
    body: "DetokenizeRequest",
    answer: "Text",
  },
  {
    path: "/tokenizer_info",
    method: "get",
    summary: "Special tokens and chat template",
    answer: "TokenizerInfo",
  },
  { path: "/sessions", method: "get", summary: "Saved sessions of the key", answer: "SessionList" },
  { path: "/sessions/{id}", method: "get", summary: "A saved session", answer: "Session" },
  {
    path: "/sessions/{id}",
    method: "post",
    summary: "Saves the session to disk now",
    answer: "Session",
  },
  {
    path: "/sessions/{id}",
    method: "delete",
    summary: "Deletes a saved session",
    answer: "SessionDeleted",
  },
  {
    path: "/sessions/{id}/load",
    method: "post",
    summary: "Brings a saved session into memory",
    answer: "Session",
  },
  ...["/health", "/health/ready", "/ping"].map((path): Operation => ({
    path,
    method: "get",
    summary: "200 when requests are taken",
    answer: "Health",
    open: true,
  })),
  {
    path: "/health/live",
    method: "get",
    summary: "200 as long as the process answers",
    answer: "Health",
    open: true,
  },
  {
    path: "/openapi.json",
    method: "get",
    summary: "This description",
    answer: "Description",
    open: true,
  },
  { path: "/metrics", method: "get", summary: "Prometheus metrics", answer: null },
  {
    path: "/version",
    method: "get",
    summary: "The server's version",
    answer: "Version",
    open: true,
  },
];
