// SPDX-License-Identifier: Apache-2.0
/**
 * From what a request asks for to a compiled constraint. Compiling is linear in the size of the grammar, whose
 * states are limited, so it runs on the event loop; masks are made when they are needed. What was compiled is
 * kept, since the same schema comes again with every request.
 */
import { Failure } from "../errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { GrammarConstraint } from "./constraint.ts";
import { parseGbnf } from "./gbnf.ts";
import { type Grammar, GrammarBuilder, oneText, tooLarge } from "./grammar.ts";
import { JsonRules } from "./json_grammar.ts";
import { parseRegex } from "./regex.ts";
import { schemaGrammar } from "./schema/convert.ts";
import { buildTokenTrie, type TokenTrie } from "./token_trie.ts";

/** What an answer must be. */
export type AnswerFormat =
  | { kind: "json" }
  | { kind: "schema"; schema: unknown; strict: boolean }
  | { kind: "regex"; regex: string }
  | { kind: "grammar"; grammar: string }
  | { kind: "choice"; texts: readonly string[] };

/** An {@linkcode AnswerFormat} and the field of the request that asked for it. */
export interface FormatRequest {
  format: AnswerFormat;
  param: string;
}

/** Longest schema, regular expression or grammar, in characters. */
const MAX_SOURCE = 1 << 18;
const MAX_CACHED = 64;
/** Memory of all caches together. */
const MAX_BYTES = 256 * 2 ** 20;

/** The grammar of a format. @throws {Failure} `invalid`, completing a sentence that starts with the field. */
export function formatGrammar(format: AnswerFormat): Grammar {
  switch (format.kind) {
    case "json": {
      const builder = new GrammarBuilder();
      return builder.build(new JsonRules(builder).object);
    }
    case "schema":
      return schemaGrammar(format.schema, format.strict ? "strict" : "usual");
    case "regex":
      return new GrammarBuilder().build(parseRegex(format.regex));
    case "grammar":
      return parseGbnf(format.grammar);
    case "choice":
      return new GrammarBuilder().build(oneText(format.texts));
  }
}

export class ConstraintCompiler {
  readonly #tokenizer: Tokenizer;
  readonly #trie: TokenTrie;
  /** By source, the least recently used first. */
  readonly #compiled = new Map<string, GrammarConstraint>();

  /** `vocabulary`: tokens that the model has. Takes a third of a second for 128,000 of them. */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.#tokenizer = tokenizer;
    this.#trie = buildTokenTrie(tokenizer, vocabulary);
  }

  /** @throws {Failure} `invalid` with a sentence that names the field. */
  compile({ format, param }: FormatRequest): GrammarConstraint {
    const source = JSON.stringify(format);
    if (source.length > MAX_SOURCE) {
      throw new Failure("invalid", `${param} is longer than ${MAX_SOURCE} characters`, { param });
    }
    return this.#cached(source, param, () => formatGrammar(format));
  }

  /** A grammar that comes from elsewhere; `source` stands for it in the cache. */
  compileGrammar(source: string, param: string, grammar: () => Grammar): GrammarConstraint {
    return this.#cached(source, param, grammar);
  }

  #cached(source: string, param: string, grammar: () => Grammar): GrammarConstraint {
    let constraint = this.#compiled.get(source);
    this.#compiled.delete(source);
    constraint ??= this.#make(param, grammar);
    this.#compiled.set(source, constraint);
    this.#shrink(constraint);
    return constraint;
  }

  #make(param: string, grammar: () => Grammar): GrammarConstraint {
    try {
      const constraint = new GrammarConstraint(grammar(), this.#trie, this.#tokenizer);
      // The first mask is the slowest, and says whether the grammar can be followed at all.
      constraint.matcher(new Set()).allowed();
      return constraint;
    } catch (error) {
      // What nests too deep for recursion is too large.
      const failure = error instanceof RangeError ? tooLarge() : error;
      if (!(failure instanceof Failure) || failure.param !== null) throw failure;
      throw new Failure("invalid", `${param} ${failure.message}`, { param, cause: error });
    }
  }

  /** Lets go of what was used least lately, then of the caches of what is in use. */
  #shrink(used: GrammarConstraint): void {
    let bytes = 0;
    for (const constraint of this.#compiled.values()) bytes += constraint.bytes;
    for (const [source, constraint] of this.#compiled) {
      if (this.#compiled.size <= MAX_CACHED && bytes <= MAX_BYTES) return;
      bytes -= constraint.bytes;
      if (constraint === used) constraint.forget();
      else this.#compiled.delete(source);
    }
  }
}
