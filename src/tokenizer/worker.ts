// SPDX-License-Identifier: Apache-2.0
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * Renders and encodes what is long off the event loop. Imports only from this folder, packages and
 * `../errors.ts`: a worker may read no other. The first message is the tokenizer with its templates, each
 * further one a request; one answer comes for each.
 */
import { Failure } from "../errors.ts";
import { type ChatRenderer, chatRenderer, type ChatSource, howOfChat } from "./chat_prompt.ts";
import { type EncodeHow, Encoder } from "./encoder.ts";
import type { TokenizerSpec } from "./spec.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";

/** What a worker knows. */
export interface WorkerSetup {
  spec: TokenizerSpec;
  chat: ChatSource;
}

/** A text to encode, or a conversation to render and encode. */
export type WorkerRequest =
  | { kind: "text"; text: string; how: EncodeHow }
  | { kind: "chat"; messages: readonly ChatMessage[]; options: ChatOptions };

/** Its tokens, or why there are none: errors lose their class on the way. */
export type WorkerAnswer = Int32Array | { kind: Failure["kind"]; message: string; param?: string };

let encoder: Encoder | null = null;
let renderer: ChatRenderer | null = null;

self.onmessage = (event: MessageEvent<WorkerSetup | WorkerRequest>) => {
  if (encoder === null) {
    const { spec, chat } = event.data as WorkerSetup;
    encoder = new Encoder(spec);
    renderer = chatRenderer(chat, spec.added);
    return;
  }
  try {
    const ids = tokensOf(encoder, event.data as WorkerRequest);
    self.postMessage(ids, [ids.buffer]);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { kind, message, param } = error;
    self.postMessage({ kind, message, ...(param === null ? {} : { param }) });
  }
};

function tokensOf(encoder: Encoder, request: WorkerRequest): Int32Array<ArrayBuffer> {
  if (request.kind === "text") return encoder.encode(request.text, request.how);
  const { text, markers } = renderer!.render(request.messages, request.options);
  return encoder.encode(text, howOfChat(markers));
}
