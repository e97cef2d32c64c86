// SPDX-License-Identifier: Apache-2.0
/** Items of a response's output as they grow, and the events that say so. */
import type { TokenInfo } from "../src/types.ts";
import { newId } from "./admission.ts";
import { type ChatLogprobs, chatLogprobs } from "./logprobs.ts";

/** An event of the stream, before it gets its number. */
export type ResponseEvent = { type: string } & Record<string, unknown>;
export type Body = Record<string, unknown>;

/** An item that is being written. */
export interface OpenItem {
  /** What belongs into the stream when it begins. */
  begin(index: number): ResponseEvent[];
  /** The last events, and the item as it stays. */
  end(index: number, status: string): { events: ResponseEvent[]; item: Body };
}

/** A message with one text. */
export class MessageItem implements OpenItem {
  readonly #id = newId("msg");
  readonly #top: number | null;
  #text = "";
  readonly #scores: ChatLogprobs["content"] = [];
  /** Tokens that no delta has told yet. */
  #due: TokenInfo[] = [];

  /** `top`: alternatives of log-probabilities; null: none. */
  constructor(top: number | null) {
    this.#top = top;
  }

  begin(index: number): ResponseEvent[] {
    const item = this.#item("in_progress", []);
    return [
      { type: "response.output_item.added", output_index: index, item },
      this.#atText("response.content_part.added", index, { part: this.#part() }),
    ];
  }

  /** Tokens of text that follows. */
  tokens(tokens: readonly TokenInfo[]): void {
    if (this.#top !== null) this.#due.push(...tokens);
  }

  delta(index: number, text: string): ResponseEvent {
    this.#text += text;
    const logprobs = this.#tell();
    return this.#atText("response.output_text.delta", index, { delta: text, logprobs });
  }

  end(index: number, status: string): { events: ResponseEvent[]; item: Body } {
    this.#tell();
    const part = this.#part();
    const item = this.#item(status, [part]);
    const { text, logprobs } = part;
    const events = [
      this.#atText("response.output_text.done", index, { text, logprobs }),
      this.#atText("response.content_part.done", index, { part }),
      { type: "response.output_item.done", output_index: index, item },
    ];
    return { events, item };
  }

  #tell(): ChatLogprobs["content"] {
    const told = chatLogprobs(this.#due, this.#top ?? 0).content;
    this.#due = [];
    for (const entry of told) this.#scores.push(entry);
    return told;
  }

  #atText(type: string, index: number, more: Body): ResponseEvent {
    return { type, item_id: this.#id, output_index: index, content_index: 0, ...more };
  }

  #part(): Body {
    return {
      type: "output_text",
      text: this.#text,
      annotations: [],
      logprobs: [...this.#scores],
    };
  }

  #item(status: string, content: Body[]): Body {
    return { id: this.#id, type: "message", status, role: "assistant", content };
  }
}

/** A call of a function. */
export class CallItem implements OpenItem {
  readonly #id = newId("fc");
  readonly #callId: string;
  readonly #name: string;
  #arguments = "";

  constructor(callId: string, name: string) {
    this.#callId = callId;
    this.#name = name;
  }

  begin(index: number): ResponseEvent[] {
    const item = this.#item("in_progress");
    return [{ type: "response.output_item.added", output_index: index, item }];
  }

  delta(index: number, text: string): ResponseEvent {
    this.#arguments += text;
    return this.#at("response.function_call_arguments.delta", index, { delta: text });
  }

  end(index: number, status: string): { events: ResponseEvent[]; item: Body } {
    const item = this.#item(status);
    const whole = { name: this.#name, arguments: this.#arguments };
    const events = [
      this.#at("response.function_call_arguments.done", index, whole),
      { type: "response.output_item.done", output_index: index, item },
    ];
    return { events, item };
  }

  #at(type: string, index: number, more: Body): ResponseEvent {
    return { type, item_id: this.#id, output_index: index, ...more };
  }

  #item(status: string): Body {
    return {
      id: this.#id,
      type: "function_call",
      status,
      call_id: this.#callId,
      name: this.#name,
      arguments: this.#arguments,
    };
  }
}
