// SPDX-License-Identifier: Apache-2.0
/** The body of `POST /v1/embeddings`. */
import type { ModelInfo } from "../../src/types.ts";
import { fields, flag, integer, oneOf, parse } from "./fields.ts";
import { refuseUnsupported } from "./unsupported.ts";
import { parsePrompts, type Prompt } from "./prompt.ts";

/** An embeddings request that was understood. */
export interface EmbeddingsBody {
  inputs: Prompt[];
  addSpecial: boolean;
  base64: boolean;
  /** Numbers of each embedding. */
  dimensions: number;
}

/** The fields of an embeddings request but for the input. */
export const embeddingsSchema = (model: ModelInfo) =>
  fields({
    encoding_format: oneOf("float", "base64").optional(),
    dimensions: integer(1, model.hidden).optional(),
    add_special_tokens: flag.optional(),
  });

/** Reads the body; throws a 400 that names the field. */
export function parseEmbeddings(value: Record<string, unknown>, model: ModelInfo): EmbeddingsBody {
  const body = parse(embeddingsSchema(model), value);
  refuseUnsupported(value);
  return {
    inputs: parsePrompts(value["input"], model, "input"),
    addSpecial: body.add_special_tokens ?? true,
    base64: body.encoding_format === "base64",
    dimensions: body.dimensions ?? model.hidden,
  };
}
