// SPDX-License-Identifier: Apache-2.0
/** Grammars that allow calls of tools, and nothing else. */
import { Failure } from "../errors.ts";
import {
  choice,
  GrammarBuilder,
  type Node,
  optional,
  sequence,
  star,
  text,
} from "../constraint/grammar.ts";
import { JsonRules } from "../constraint/json_grammar.ts";
import { schemaNode } from "../constraint/schema/convert.ts";
import { ARGS_MARK, type Dialect, type Tool } from "./dialect.ts";

/** A text as it is, or the special token of that name. */
export type Marks = (text: string) => Node;

/** Makes the parts of a grammar for calls. */
export class CallGrammar {
  readonly builder = new GrammarBuilder();
  readonly json = new JsonRules(this.builder);
  readonly #dialect: Dialect;
  readonly #tools: readonly Tool[];
  readonly #mark: Marks;
  readonly #loose: boolean;

  /** `loose`: arguments of tools that aren't strict are any objects. */
  constructor(dialect: Dialect, tools: readonly Tool[], mark: Marks, loose: boolean) {
    this.#dialect = dialect;
    this.#tools = tools;
    this.#mark = mark;
    this.#loose = loose;
  }

  /** At least one call, or just one. */
  calls(several: boolean): Node {
    const { opener, form, separator } = this.#dialect;
    if (form === "list") {
      const call = this.builder.add(this.#call());
      const more = several ? [star(sequence(text(separator), call))] : [];
      return sequence(
        this.#mark(opener!),
        optional(text(" ")),
        text("["),
        call,
        ...more,
        text("]"),
      );
    }
    const call = this.builder.add(
      sequence(...(opener === null ? [] : [this.#mark(opener)]), this.body()),
    );
    return several ? sequence(call, star(sequence(text(separator), call))) : call;
  }

  /** What stands behind the opener of one call; with a list, of all of them. */
  body(): Node {
    const { closer, form, separator } = this.#dialect;
    const call = this.builder.add(this.#call());
    if (form === "list") {
      const more = star(sequence(text(separator), call));
      return sequence(optional(text(" ")), text("["), call, more, text("]"));
    }
    if (closer === null) return call;
    const line = optional(text("\n"));
    return sequence(line, call, line, this.#mark(closer));
  }

  #call(): Node {
    const { form, argumentsKey } = this.#dialect;
    const { json } = this;
    return choice(...this.#tools.map((tool, i) => {
      const args = this.builder.add(this.#arguments(tool, i));
      if (form === "named") return sequence(text(tool.name), this.#mark(ARGS_MARK), args);
      const name = json.member(text('"name"'), text(JSON.stringify(tool.name)));
      return json.enclosed(
        "{",
        sequence(name, json.comma, json.member(text(`"${argumentsKey}"`), args)),
        "}",
      );
    }));
  }

  #arguments({ parameters, strict }: Tool, index: number): Node {
    if (this.#loose && !strict) return this.json.object;
    const schema = argumentsSchema(parameters);
    try {
      return schemaNode(schema, this.builder, this.json, strict ? "strict" : "lenient");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      // Who doesn't insist gets any object.
      if (!strict) return this.json.object;
      const param = `tools[${index}].function.parameters`;
      throw new Failure("invalid", `${param} ${error.message}`, { param });
    }
  }
}

/** The schema of a call's arguments, which are an object. */
function argumentsSchema(parameters: unknown): unknown {
  if (parameters === undefined || parameters === null) {
    return { type: "object", properties: {}, additionalProperties: false };
  }
  if (typeof parameters !== "object" || Array.isArray(parameters)) return parameters;
  const schema = parameters as Record<string, unknown>;
  const open = schema["type"] === undefined && schema["$ref"] === undefined &&
    schema["anyOf"] === undefined && schema["allOf"] === undefined && schema["oneOf"] === undefined;
  return open ? { type: "object", ...schema } : schema;
}
