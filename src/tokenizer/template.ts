// SPDX-License-Identifier: Apache-2.0
/**
 * Chat templates (Jinja), rendered within bounds: a template comes with a model from the internet, and
 * must not be able to hang the server or fill its memory.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { Failure } from "../errors.ts";
import { strftime } from "./strftime.ts";

type Program = ReturnType<typeof parse>;
type Node = NonNullable<Parameters<Interpreter["evaluate"]>[0]>;
type Scope = Parameters<Interpreter["evaluate"]>[1];
type Value = ReturnType<Interpreter["evaluate"]>;

/** Longest template, in UTF-16 units; the longest known ones have 20,000. */
const MAX_SOURCE = 1 << 18;
/** The parser's search for tags costs the square of the longest run of white space. */
const MAX_BLANKS = 1 << 12;
/** Expressions that a rendering may evaluate (a million take about a second), and more for each message. */
const MAX_STEPS = 1_000_000;
const STEPS_PER_MESSAGE = 1000;
/** What a round of a loop costs, be its body empty. */
const STEPS_PER_ROUND = 10;
const MAX_MS = 10_000;
/** Longest text and longest list that a template may make. */
const MAX_TEXT = 1 << 26;
const MAX_LIST = 1 << 20;
const MAX_INDENT = 256;

/** `raise_exception` was called: the sentence is for the user. */
class RaisedByTemplate extends Error {}
class OutOfBounds extends Error {}

/** A template that has been parsed. */
export class ChatTemplate {
  readonly #program: Program;
  readonly #now: () => Date;

  /** @throws {Failure} kind `model` when it cannot be parsed. */
  constructor(source: string, now: () => Date = () => new Date()) {
    this.#now = now;
    if (source.length > MAX_SOURCE || new RegExp(`\\s{${MAX_BLANKS}}`).test(source)) {
      throw new Failure("model", "The model's chat template is too long to be one.");
    }
    try {
      this.#program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    } catch (error) {
      throw new Failure(
        "model",
        `The model's chat template cannot be parsed: ${sentence(error)}.`,
        { cause: error },
      );
    }
  }

  /** @throws {Failure} kind `invalid`, with the template's own sentence when it refuses the messages. */
  render(variables: Record<string, unknown>): string {
    try {
      const scope = new Environment(this.#globals());
      for (const [name, value] of Object.entries(variables)) {
        if (name !== "namespace") scope.set(name, value);
      }
      const count = Array.isArray(variables.messages) ? variables.messages.length : 0;
      const steps = MAX_STEPS + STEPS_PER_MESSAGE * count;
      const value = new BoundedInterpreter(scope, steps).run(this.#program).value;
      return typeof value === "string" ? value : "";
    } catch (error) {
      if (error instanceof RaisedByTemplate) throw new Failure("invalid", error.message);
      throw new Failure(
        "invalid",
        `The model's chat template cannot render these messages: ${sentence(error)}.`,
        { cause: error },
      );
    }
  }

  #globals(): Environment {
    const scope = new Environment();
    const constants = { true: true, True: true, false: false, False: false };
    for (const [name, value] of Object.entries(constants)) scope.set(name, value);
    scope.set("none", null);
    scope.set("None", null);
    scope.set("range", boundedRange);
    scope.set("strftime_now", (format: unknown) => strftime(this.#now(), String(format)));
    scope.set("raise_exception", (message: unknown) => {
      throw new RaisedByTemplate(String(message));
    });
    return scope;
  }
}

function sentence(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.length > 300 ? text.slice(0, 300) + "…" : text).replace(/\.$/, "");
}

function boundedRange(first: unknown, second?: unknown, third: unknown = 1): number[] {
  const numbers = (second === undefined ? [0, first, third] : [first, second, third]).map(Number);
  const [start, stop, step] = numbers as [number, number, number];
  if (!numbers.every(Number.isInteger) || step === 0) throw new Error("range() needs integers");
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_LIST) throw new OutOfBounds("range() is too long");
  return Array.from({ length }, (_, i) => start + i * step);
}

function asNode(node: unknown): Node {
  return node as Node;
}

interface FilterNode {
  operand: Node;
  filter: { type: string; value?: string; callee?: { value?: string }; args?: Node[] };
}

interface ForNode {
  iterable: Node & { lhs?: Node };
}

/** `for x in list if condition` has the list inside of what it runs over. */
function iterableOf({ iterable }: ForNode): Node {
  return iterable.type === "SelectExpression" && iterable.lhs ? iterable.lhs : iterable;
}

/** Filters that take an undefined value for an empty text. */
const TEXT_FILTERS = new Set(["trim", "lower", "upper", "title", "capitalize", "string", "join"]);

/** Counts what it evaluates, looks at the size of what comes out, and fills two gaps of the library. */
class BoundedInterpreter extends Interpreter {
  #stepsLeft: number;
  /** Expressions that loops run over. */
  readonly #iterables = new WeakSet<Node>();
  readonly #deadline = performance.now() + MAX_MS;

  constructor(scope: Environment, steps: number) {
    super(scope);
    this.#stepsLeft = steps;
  }

  override evaluate(node: Node | undefined, scope: Scope): Value {
    if (--this.#stepsLeft < 0) throw new OutOfBounds("it does not come to an end");
    if (this.#stepsLeft % 1024 === 0 && performance.now() > this.#deadline) {
      throw new OutOfBounds(`it takes longer than ${MAX_MS / 1000} seconds`);
    }
    if (node?.type === "For") this.#iterables.add(iterableOf(node as unknown as ForNode));
    const value = node?.type === "FilterExpression"
      ? this.#filter(node as unknown as FilterNode, scope)
      : super.evaluate(node, scope);
    if (value) this.#check(value);
    if (node && Array.isArray(value?.value) && this.#iterables.has(node)) {
      this.#stepsLeft -= STEPS_PER_ROUND * value.value.length;
    }
    return value;
  }

  #check(value: Value): void {
    const content: unknown = value.value;
    const tooLong = typeof content === "string"
      ? content.length > MAX_TEXT
      : Array.isArray(content) && content.length > MAX_LIST;
    if (tooLong) throw new OutOfBounds("it makes too long a text");
  }

  #filter(node: FilterNode, scope: Scope): Value {
    const value = this.evaluate(node.operand, scope);
    const { filter } = node;
    const name = (filter.type === "CallExpression" ? filter.callee?.value : filter.value) ?? "";
    if (value.type === "UndefinedValue") {
      if (TEXT_FILTERS.has(name)) return this.#literal("", scope);
      if (name === "list") return this.evaluate(asNode({ type: "ArrayLiteral", value: [] }), scope);
    }
    const inner = new Environment(scope);
    if (name === "map" && value.type === "ArrayValue") {
      const mapped = this.#map(value.value as Value[], filter.args ?? [], inner);
      if (mapped) return mapped;
    }
    if (name === "indent" || name === "tojson") this.#checkIndent(filter.args ?? [], scope);
    // The operand is evaluated once: the library gets it as a variable.
    inner.setVariable(" operand", value);
    const operand = { type: "Identifier", value: " operand" };
    return super.evaluate(asNode({ type: "FilterExpression", operand, filter }), inner);
  }

  #literal(value: string, scope: Scope): Value {
    return super.evaluate(asNode({ type: "StringLiteral", value }), scope);
  }

  /** `map("trim")`: the library maps attributes only. */
  #map(items: Value[], args: Node[], scope: Environment): Value | null {
    const first = args[0] as unknown as { type: string; value: string } | undefined;
    if (first?.type !== "StringLiteral" || args.length !== 1) return null;
    const filtered = items.map((item, i) => {
      scope.setVariable(` item ${i}`, item);
      return {
        type: "FilterExpression",
        operand: { type: "Identifier", value: ` item ${i}` },
        filter: { type: "Identifier", value: first.value },
      };
    });
    return this.evaluate(asNode({ type: "ArrayLiteral", value: filtered }), scope);
  }

  #checkIndent(args: Node[], scope: Scope): void {
    for (const arg of args) {
      const inner = arg.type === "KeywordArgumentExpression"
        ? (arg as unknown as { value: Node }).value
        : arg;
      const { value } = this.evaluate(inner, scope);
      if (typeof value === "number" && value > MAX_INDENT) {
        throw new OutOfBounds("it indents too far");
      }
    }
  }
}
