// SPDX-License-Identifier: Apache-2.0
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * Encodes long texts off the event loop. Imports only from this folder: a worker may read no other.
 * The first message is the tokenizer, each further one a text; one answer comes for each text.
 */
import { type EncodeHow, Encoder } from "./encoder.ts";
import type { TokenizerSpec } from "./spec.ts";

/** A text to encode. */
export interface WorkerRequest {
  text: string;
  how: EncodeHow;
}

let encoder: Encoder | null = null;

self.onmessage = (event: MessageEvent<TokenizerSpec | WorkerRequest>) => {
  if (encoder === null) {
    encoder = new Encoder(event.data as TokenizerSpec);
    return;
  }
  const { text, how } = event.data as WorkerRequest;
  const ids = encoder.encode(text, how);
  self.postMessage(ids, [ids.buffer]);
};
