// SPDX-License-Identifier: Apache-2.0
/** What a request's answers must look like. */
import type { ConstraintCompiler } from "../constraint/compiler.ts";
import type { Constraint } from "../constraint/constraint.ts";
import { compileCalls } from "../tools/compile_calls.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { GenerationRequest } from "../types.ts";

/** null: anything. @throws {Failure} `invalid` when it can't be followed. */
export function constraintOf(
  { calls = null, format = null }: GenerationRequest,
  compiler: ConstraintCompiler,
  tokenizer: Tokenizer,
): Constraint | null {
  if (calls !== null) return compileCalls(compiler, tokenizer, calls, format);
  return format === null ? null : compiler.compile(format);
}
