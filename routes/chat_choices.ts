// SPDX-License-Identifier: Apache-2.0
/** Choices of a chat answer, whole and in deltas, with calls of tools taken out of the text. */
import { type AnswerPart, CallParser } from "../src/tools/call_parser.ts";
import type { CallRequest } from "../src/tools/compile_calls.ts";
import { DIALECTS } from "../src/tools/dialect.ts";
import type { FinishReason, TokenInfo } from "../src/types.ts";
import type { Choice, ChunkWriter, Collected } from "./answer.ts";
import { chatLogprobs } from "./logprobs.ts";
import type { ChatBody } from "./schemas/chat.ts";

/** Some templates of Mistral take ids of this length only; everybody takes them. */
const ID_LENGTH = 9;
const ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** An id for a call, in the form that the model's template takes. */
export function newCallId({ dialect }: CallRequest): string {
  if (!dialect.startsWith("mistral")) return `call_${crypto.randomUUID().replaceAll("-", "")}`;
  const random = crypto.getRandomValues(new Uint8Array(ID_LENGTH));
  return Array.from(random, (byte) => ID_CHARACTERS[byte % ID_CHARACTERS.length]).join("");
}

export function callParser({ dialect, tools }: CallRequest): CallParser {
  return new CallParser(DIALECTS[dialect], tools.map((tool) => tool.name));
}

/** A call that makes a choice end with `tool_calls`. */
function reasonOf(reason: FinishReason | null, calls: number): string | null {
  return calls > 0 && reason === "stop" ? "tool_calls" : reason;
}

/** A choice of a whole answer. */
export function wholeChoice(collected: Collected, index: number, body: ChatBody): Choice {
  const { tokens, reason, stopString } = collected;
  const { content, calls } = messageOf(collected.text, body.calls);
  return {
    index,
    message: {
      role: "assistant",
      content,
      refusal: null,
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
    logprobs: body.logprobs === null ? null : chatLogprobs(tokens, body.logprobs),
    finish_reason: reasonOf(reason, calls.length),
    stop_reason: stopString,
    ...(body.returnTokenIds ? { token_ids: tokens.map((info) => info.token) } : {}),
  };
}

interface WholeCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

function messageOf(
  text: string,
  request: CallRequest | null,
): { content: string | null; calls: WholeCall[] } {
  if (request === null) return { content: text, calls: [] };
  const parser = callParser(request);
  const calls: WholeCall[] = [];
  let content = "";
  for (const part of [...parser.push(text), ...parser.finish()]) {
    if (part.type === "text") content += part.text;
    else if (part.type === "arguments") calls[part.index]!.function.arguments += part.text;
    else {
      const made = { name: part.name, arguments: "" };
      calls.push({ id: newCallId(request), type: "function", function: made });
    }
  }
  return { content: content === "" && calls.length > 0 ? null : content, calls };
}

/** Deltas of a chat answer. */
export class ChatWriter implements ChunkWriter {
  readonly #body: ChatBody;
  readonly #prompt: Int32Array;
  readonly #roleAtOnce: boolean;
  /** Choices whose role went out: each must have one, once. */
  readonly #opened = new Set<number>();
  /** By choice. */
  readonly #parsers = new Map<number, CallParser>();
  /** Tokens whose text is held back. */
  readonly #held = new Map<number, TokenInfo[]>();

  constructor(body: ChatBody, prompt: Int32Array, roleAtOnce: boolean) {
    this.#body = body;
    this.#prompt = prompt;
    this.#roleAtOnce = roleAtOnce;
  }

  opening(index: number): Choice | null {
    if (!this.#roleAtOnce) return null;
    return this.#choice(index, { content: "" }, null, []);
  }

  prompt(): null {
    return null;
  }

  text(index: number, text: string, tokens: readonly TokenInfo[]): Choice[] {
    const parser = this.#parserOf(index);
    const parts = parser === null ? textParts(text) : parser.push(text);
    return this.#deltas(index, parts, tokens);
  }

  finish(index: number, reason: FinishReason, stop: string | null): Choice[] {
    const parser = this.#parserOf(index);
    const rest = parser === null ? [] : this.#deltas(index, parser.finish(), []);
    const held = this.#held.get(index) ?? [];
    const finish = reasonOf(reason, parser?.calls ?? 0);
    return [...rest, { ...this.#choice(index, {}, finish, held), stop_reason: stop }];
  }

  #parserOf(index: number): CallParser | null {
    if (this.#body.calls === null) return null;
    const parser = this.#parsers.get(index) ?? callParser(this.#body.calls);
    this.#parsers.set(index, parser);
    return parser;
  }

  /** Tokens go with the first delta that follows them. */
  #deltas(index: number, parts: readonly AnswerPart[], tokens: readonly TokenInfo[]): Choice[] {
    const { logprobs, returnTokenIds } = this.#body;
    let due = [...this.#held.get(index) ?? [], ...tokens];
    this.#held.delete(index);
    const choices = parts.map((part) => {
      const choice = this.#choice(index, this.#delta(part), null, due);
      due = [];
      return choice;
    });
    if (due.length === 0 || (logprobs === null && !returnTokenIds)) return choices;
    if (this.#body.calls === null) return [this.#choice(index, { content: "" }, null, due)];
    this.#held.set(index, due);
    return choices;
  }

  #delta(part: AnswerPart): Record<string, unknown> {
    if (part.type === "text") return { content: part.text };
    // Only the first delta of a call says what it is: clients take a second id for another call.
    const { index } = part;
    const call = part.type === "arguments" ? { index, function: { arguments: part.text } } : {
      index,
      id: newCallId(this.#body.calls!),
      type: "function",
      function: { name: part.name, arguments: "" },
    };
    return { tool_calls: [call] };
  }

  #choice(
    index: number,
    delta: Record<string, unknown>,
    reason: string | null,
    tokens: readonly TokenInfo[],
  ): Choice {
    const { logprobs, returnTokenIds } = this.#body;
    const first = !this.#opened.has(index);
    this.#opened.add(index);
    const ids = first && index === 0 ? { prompt_token_ids: [...this.#prompt] } : {};
    const content = "tool_calls" in delta ? null : "";
    return {
      index,
      delta: first ? { role: "assistant", content, refusal: null, ...delta } : delta,
      logprobs: logprobs === null || tokens.length === 0 ? null : chatLogprobs(tokens, logprobs),
      finish_reason: reason,
      ...(returnTokenIds ? { ...ids, token_ids: tokens.map((info) => info.token) } : {}),
    };
  }
}

function textParts(text: string): AnswerPart[] {
  return text === "" ? [] : [{ type: "text", text }];
}
