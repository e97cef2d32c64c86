// SPDX-License-Identifier: Apache-2.0
import type { Library } from "./library.ts";
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
const CAPTURES: Record<CaptureName, number> = {
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

/** The values of one name at one layer in the last step; `check` throws failures. */
export function readCapture(
  { symbols }: Library,
  handle: Deno.PointerValue,
  name: CaptureName,
  layer: number,
  check: (status: number) => number,
): Float32Array {
  const read = (values: Float32Array<ArrayBuffer>) =>
    check(
      symbols.sounder_capture_read(handle, CAPTURES[name], layer, values, values.length),
    );
  const values = new Float32Array(read(new Float32Array(1)));
  read(values);
  return values;
}
