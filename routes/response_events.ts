// SPDX-License-Identifier: Apache-2.0
/** A response in the shape of OpenAI's Responses API, built event by event. */
import type { AnswerPart } from "../src/tools/call_parser.ts";
import type { FinishReason, TokenInfo, Usage } from "../src/types.ts";
import { AnswerParts } from "./answer_parts.ts";
import { newCallId } from "./chat_choices.ts";
import type { ApiError } from "./errors.ts";
import type { Job } from "./job.ts";
import {
  type Body,
  CallItem,
  MessageItem,
  type OpenItem,
  type ResponseEvent,
} from "./response_items.ts";
import type { ResponsesBody } from "./schemas/responses.ts";
import { sounderBody } from "./usage.ts";

/** An event of the stream. */
export type NumberedEvent = ResponseEvent & { sequence_number: number };

function usageOf(usage: Usage): Body {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: usage.promptTokens + usage.completionTokens,
    sounder: sounderBody(usage),
  };
}

/** One response: what is known of it so far, and the events that say so. */
export class ResponseBuilder {
  readonly #base: Body;
  readonly #body: ResponsesBody;
  readonly #parts: AnswerParts;
  #sequence = 0;
  readonly #output: Body[] = [];
  #open: OpenItem | null = null;
  /** Tokens that came while no message was open. */
  #due: TokenInfo[] = [];
  #reason: FinishReason = "stop";

  constructor(id: string, model: string, body: ResponsesBody) {
    this.#body = body;
    this.#parts = new AnswerParts(body.calls);
    this.#base = {
      id,
      object: "response",
      created_at: Math.floor(Date.now() / 1000),
      model,
      background: false,
      error: null,
      incomplete_details: null,
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      service_tier: "default",
      store: false,
      truncation: "disabled",
      usage: null,
      ...body.echo,
    };
  }

  /** The events of a job of one prompt and one choice. None after a cancel. */
  async *events(job: Job): AsyncGenerator<NumberedEvent> {
    for (const event of this.#opening()) yield this.#numbered(event);
    for await (const { event } of job.events()) {
      if (event.type === "text") {
        this.#tokens(event.tokens);
        for (const part of this.#parts.push(event.text)) yield* this.#part(part);
      } else if (event.type === "finish") {
        this.#reason = event.reason;
      } else if (event.type === "done") {
        for (const part of this.#parts.finish()) yield* this.#part(part);
        yield* this.#closing(event.usage);
      }
    }
  }

  /** What an error makes of it. The last event is the one that clients raise. */
  failed(error: ApiError): NumberedEvent[] {
    const { message, code, param } = error.body.error;
    const response = this.#response("failed", {
      error: { code: code ?? "server_error", message },
    });
    return [
      this.#numbered({ type: "response.failed", response }),
      this.#numbered({ type: "error", code, message, param }),
    ];
  }

  /** Without tools the answer is a message, which begins at once. */
  #opening(): ResponseEvent[] {
    const response = this.#response("in_progress");
    const events = [
      { type: "response.created", response },
      { type: "response.in_progress", response },
    ];
    return this.#body.calls === null ? [...events, ...this.#begin(this.#message())] : events;
  }

  #message(): MessageItem {
    const message = new MessageItem(this.#body.logprobs);
    message.tokens(this.#due);
    this.#due = [];
    return message;
  }

  #tokens(tokens: readonly TokenInfo[]): void {
    if (this.#open instanceof MessageItem) this.#open.tokens(tokens);
    else for (const token of tokens) this.#due.push(token);
  }

  *#part(part: AnswerPart): Generator<NumberedEvent> {
    for (const event of this.#eventsOf(part)) yield this.#numbered(event);
  }

  #eventsOf(part: AnswerPart): ResponseEvent[] {
    const before: ResponseEvent[] = [];
    if (part.type === "call") {
      const call = new CallItem(newCallId(this.#body.calls!), part.name);
      this.#due = [];
      return [...this.#end("completed"), ...this.#begin(call)];
    }
    if (part.type === "text" && !(this.#open instanceof MessageItem)) {
      before.push(...this.#end("completed"), ...this.#begin(this.#message()));
    }
    const open = this.#open as MessageItem | CallItem;
    return [...before, open.delta(this.#output.length, part.text)];
  }

  #begin(item: OpenItem): ResponseEvent[] {
    this.#open = item;
    return item.begin(this.#output.length);
  }

  #end(status: string): ResponseEvent[] {
    if (this.#open === null) return [];
    const { events, item } = this.#open.end(this.#output.length, status);
    this.#output.push(item);
    this.#open = null;
    return events;
  }

  *#closing(usage: Usage): Generator<NumberedEvent> {
    const status = this.#reason === "length" ? "incomplete" : "completed";
    const empty = this.#open === null && this.#output.length === 0;
    const events = [...empty ? this.#begin(this.#message()) : [], ...this.#end(status)];
    for (const event of events) yield this.#numbered(event);
    const response = this.#response(status, {
      ...(status === "completed"
        ? { completed_at: Math.floor(Date.now() / 1000) }
        : { incomplete_details: { reason: "max_output_tokens" } }),
      usage: usageOf(usage),
    });
    yield this.#numbered({ type: `response.${status}`, response });
  }

  #numbered(event: ResponseEvent): NumberedEvent {
    return { ...event, sequence_number: this.#sequence++ };
  }

  #response(status: string, more: Body = {}): Body {
    return { ...this.#base, status, output: [...this.#output], ...more };
  }
}

/** The response that the events end with; null when the client went away before. */
export async function wholeResponse(events: AsyncIterable<NumberedEvent>): Promise<Body | null> {
  let last: NumberedEvent | null = null;
  for await (const event of events) last = event;
  const ended = last?.type === "response.completed" || last?.type === "response.incomplete";
  return ended ? last!["response"] as Body : null;
}
