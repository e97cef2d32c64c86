// SPDX-License-Identifier: Apache-2.0
import * as abi from "./symbols.ts";

/** Inner values of a step that tests and figures read. */
export type CaptureName =
  | "embedding"
  | "attention_norm"
  | "q"
  | "k"
  | "v"
  | "attention"
  | "layer"
  | "final_norm"
  | "logits";

/** Their numbers in the ABI. */
export const CAPTURES: Record<CaptureName, number> = {
  embedding: abi.CAPTURE_EMBEDDING,
  attention_norm: abi.CAPTURE_ATTENTION_NORM,
  q: abi.CAPTURE_Q,
  k: abi.CAPTURE_K,
  v: abi.CAPTURE_V,
  attention: abi.CAPTURE_ATTENTION,
  layer: abi.CAPTURE_LAYER,
  final_norm: abi.CAPTURE_FINAL_NORM,
  logits: abi.CAPTURE_LOGITS,
};
