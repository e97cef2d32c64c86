// SPDX-License-Identifier: Apache-2.0
/** From messages to the text of a prompt, special tokens in the messages kept apart from the template's. */
import { Failure } from "../errors.ts";
import { type ChatMarkers, chooseMarkers, SpecialTokenGuard, withoutMarkers } from "./markers.ts";
import type { EncodeHow } from "./encoder.ts";
import type { AddedToken } from "./spec.ts";
import { ChatTemplate } from "./template.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";

/** Templates by name, and what they may name: the same for the event loop and the worker. */
export interface ChatSource {
  templates: ReadonlyMap<string, string>;
  variables: Record<string, string>;
}

/** A rendered prompt with the markers still in it. */
export interface RenderedChat {
  text: string;
  markers: ChatMarkers;
}

/** Reads the templates. @throws {Failure} kind `model` when one cannot be parsed. */
export function chatRenderer(
  { templates, variables }: ChatSource,
  added: readonly AddedToken[],
  now?: () => Date,
): ChatRenderer {
  const parsed = [...templates].map(([name, source]) =>
    [name, new ChatTemplate(source, now)] as const
  );
  return new ChatRenderer(new Map(parsed), variables, new SpecialTokenGuard(added));
}

/** How a rendered chat is encoded. */
export function howOfChat({ cut, escape }: ChatMarkers): EncodeHow {
  return { parseSpecial: true, around: "start", markers: { cut, escape } };
}

/**
 * What rendering and encoding a conversation costs, in characters of text: a template runs over each message and
 * each tool.
 */
export function sizeOfChat(messages: readonly ChatMessage[], options: ChatOptions = {}): number {
  let size = CHARACTERS_OF_ITEM * (messages.length + (options.tools?.length ?? 0));
  for (const text of textsOf([messages, options.tools ?? null, options.extra ?? null])) {
    size += text.length;
  }
  return size;
}

/** A template takes as long for a message as encoding takes for so many characters. */
const CHARACTERS_OF_ITEM = 512;

/** JSON that is nested deeper than this is refused. */
const MAX_DEPTH = 64;

/** Renders chats of one model. */
export class ChatRenderer {
  readonly #templates: ReadonlyMap<string, ChatTemplate>;
  readonly #variables: Record<string, string>;
  readonly #guard: SpecialTokenGuard;

  constructor(
    templates: ReadonlyMap<string, ChatTemplate>,
    variables: Record<string, string>,
    guard: SpecialTokenGuard,
  ) {
    this.#templates = templates;
    this.#variables = variables;
    this.#guard = guard;
  }

  get hasTemplate(): boolean {
    return this.#templates.size > 0;
  }

  /** @throws {Failure} kind `invalid` */
  render(messages: readonly ChatMessage[], options: ChatOptions = {}): RenderedChat {
    const continues = options.continueFinalMessage ?? false;
    const template = this.#template(options.tools);
    if (continues) checkContinuation(messages, options);
    const request = [messages.map(prepared), options.tools ?? null, options.extra ?? {}];
    const markers = chooseMarkers([...textsOf(request), ...this.#guard.contents]);
    const [shown, tools, extra] = this.#guarded(request, markers) as [
      Record<string, unknown>[],
      unknown,
      Record<string, unknown>,
    ];
    if (continues) {
      const last = shown.at(-1)!;
      last.content = `${last.content}${markers.end} `;
    }
    const text = template.render({
      ...this.#variables,
      documents: null,
      ...extra,
      messages: shown,
      tools: Array.isArray(tools) && tools.length > 0 ? tools : null,
      add_generation_prompt: continues ? false : options.addGenerationPrompt ?? true,
    });
    return { text: continues ? cutAtEnd(text, markers) : text, markers };
  }

  /** The prompt as people should see it. */
  renderText(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    const { text, markers } = this.render(messages, options);
    return withoutMarkers(text, markers);
  }

  #template(tools: unknown[] | undefined): ChatTemplate {
    const usual = this.#templates.get("default") ?? [...this.#templates.values()][0];
    const template = tools && tools.length > 0 ? this.#templates.get("tool_use") ?? usual : usual;
    if (!template) {
      throw new Failure(
        "invalid",
        "The model has no chat template: it can complete texts, but not chat.",
      );
    }
    return template;
  }

  #guarded(value: unknown, markers: ChatMarkers, key = ""): unknown {
    if (typeof value === "string") {
      const text = value.toWellFormed();
      // Only contents stand bare between the template's own texts. Templates compare the others, and
      // build special tokens around the role: "<|" + role + "|>".
      return key === "content" || key === "reasoning_content"
        ? this.#guard.breakAll(text, markers)
        : this.#guard.breakInside(text, markers);
    }
    if (Array.isArray(value)) return value.map((item) => this.#guarded(item, markers));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).filter(([, item]) => item !== undefined).map(([name, item]) => [
        this.#guard.breakInside(name.toWellFormed(), markers),
        this.#guarded(item, markers, name),
      ]),
    );
  }
}

function checkContinuation(messages: readonly ChatMessage[], options: ChatOptions): void {
  if (messages.length === 0) {
    throw new Failure("invalid", "There is no message that could be continued.", {
      param: "messages",
    });
  }
  if (options.addGenerationPrompt === true) {
    throw new Failure(
      "invalid",
      "continue_final_message and add_generation_prompt exclude each other: set one of them.",
    );
  }
}

/** What templates expect: a content that is always there, and arguments of tool calls as objects. */
function prepared(message: ChatMessage): Record<string, unknown> {
  const { tool_calls, ...rest } = message;
  const shown: Record<string, unknown> = { ...rest, content: message.content ?? "" };
  if (Array.isArray(tool_calls) && tool_calls.length > 0) {
    shown.tool_calls = tool_calls.map(withParsedArguments);
  }
  return shown;
}

function withParsedArguments(call: unknown): unknown {
  if (!isRecord(call) || !isRecord(call.function)) return call;
  const { arguments: text } = call.function;
  if (typeof text !== "string") return call;
  try {
    const parsed: unknown = JSON.parse(text);
    return isRecord(parsed) ? { ...call, function: { ...call.function, arguments: parsed } } : call;
  } catch {
    // What a model wrote need not be JSON; the template then gets the text.
    return call;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function* textsOf(value: unknown, depth = 0): Generator<string> {
  if (depth > MAX_DEPTH) {
    throw new Failure("invalid", `Messages and tools may be nested ${MAX_DEPTH} levels deep.`);
  }
  if (typeof value === "string") yield value;
  else if (Array.isArray(value)) { for (const item of value) yield* textsOf(item, depth + 1); }
  else if (isRecord(value)) {
    for (const [key, item] of Object.entries(value)) {
      yield key;
      yield* textsOf(item, depth + 1);
    }
  }
}

/** Ends the prompt where the last message's content ends; a template that trims has trimmed that too. */
function cutAtEnd(text: string, markers: ChatMarkers): string {
  const at = text.lastIndexOf(markers.end);
  if (at < 0) {
    throw new Failure(
      "invalid",
      "The last message cannot be continued: the model's chat template does not show its content.",
      { param: "messages" },
    );
  }
  const isSpaced = text.startsWith(" ", at + markers.end.length);
  const cut = isSpaced ? text.slice(0, at) : text.slice(0, at).trimEnd();
  return cut.replaceAll(markers.end + " ", "").replaceAll(markers.end, "");
}
