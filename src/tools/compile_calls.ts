// SPDX-License-Identifier: Apache-2.0
/** From the tools of a request to the constraint of its answer. */
import {
  type ConstraintCompiler,
  formatGrammar,
  type FormatRequest,
} from "../constraint/compiler.ts";
import type { Constraint } from "../constraint/constraint.ts";
import { choice, type Node, text } from "../constraint/grammar.ts";
import { Failure } from "../errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { CallGrammar } from "./call_grammar.ts";
import { type DialectName, DIALECTS, type Tool } from "./dialect.ts";
import { FreeCalls } from "./tool_constraint.ts";

/** The tools that an answer may call. */
export interface CallRequest {
  dialect: DialectName;
  tools: readonly Tool[];
  /** The answer must be a call; otherwise the model chooses. */
  required: boolean;
  /** It may hold more than one. */
  several: boolean;
}

/** The special token of a name, or null. */
function specialToken(tokenizer: Tokenizer, name: string): number | null {
  const tokens = tokenizer.encode(name, { parseSpecial: true });
  return tokens.length === 1 && tokenizer.isSpecial(tokens[0]!) ? tokens[0]! : null;
}

/**
 * The constraint of an answer that may call tools; `format` is what it must be where it doesn't.
 * @throws {Failure} `invalid` when a strict tool's schema, or the format, can't be followed.
 */
export function compileCalls(
  compiler: ConstraintCompiler,
  tokenizer: Tokenizer,
  request: CallRequest,
  format: FormatRequest | null,
): Constraint {
  const { dialect: name, tools, required, several } = request;
  const dialect = DIALECTS[name];
  const mark = (mark: string): Node => {
    const token = specialToken(tokenizer, mark);
    return token === null ? text(mark) : { kind: "token", token };
  };
  const free = !required && format === null;
  const attempt = (grammar: (calls: CallGrammar) => Node, loose: boolean) =>
    compiler.compileGrammar(JSON.stringify([free, loose, request, format]), "tools", () => {
      const calls = new CallGrammar(dialect, tools, mark, loose);
      return calls.builder.build(grammar(calls));
    });
  const compile = (grammar: (calls: CallGrammar) => Node) => {
    try {
      return attempt(grammar, false);
    } catch (error) {
      // Together, schemas may be too large, or leave nothing to call: who doesn't insist isn't refused for it.
      if (!(error instanceof Failure) || tools.every((tool) => tool.strict)) throw error;
      return attempt(grammar, true);
    }
  };
  if (free) {
    const { opener } = dialect;
    const start = {
      opener: opener === null ? null : { text: opener, token: specialToken(tokenizer, opener) },
      names: new Set(tools.map((tool) => tool.name)),
    };
    return new FreeCalls(compile((calls) => calls.body()), start, tokenizer, several);
  }
  return compile((calls) => {
    const made = calls.calls(several);
    if (required || format === null) return made;
    return choice(calls.builder.include(formatGrammar(format.format)), made);
  });
}
