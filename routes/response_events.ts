// SPDX-License-Identifier: Apache-2.0
/** A response in the shape of OpenAI's Responses API, built event by event. */
import type { FinishReason, TokenInfo, Usage } from "../src/types.ts";
import { newId } from "./admission.ts";
import type { ApiError } from "./errors.ts";
import type { Job } from "./job.ts";
import { type ChatLogprobs, chatLogprobs } from "./logprobs.ts";
import type { ResponseEcho } from "./schemas/responses.ts";
import { sounderBody } from "./usage.ts";

/** An event of the stream, before it gets its number. */
type Event = { type: string } & Record<string, unknown>;
/** An event of the stream. */
export type NumberedEvent = Event & { sequence_number: number };

type Logprobs = ChatLogprobs["content"];
type Body = Record<string, unknown>;

/** Where the only text of the only message is. */
const AT = { output_index: 0, content_index: 0 };

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
  readonly #logprobs: number | null;
  readonly #item = newId("msg");
  #sequence = 0;
  #text = "";
  readonly #scores: Logprobs = [];
  #reason: FinishReason = "stop";

  constructor(id: string, model: string, echo: ResponseEcho, logprobs: number | null) {
    this.#logprobs = logprobs;
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
      tool_choice: "auto",
      tools: [],
      truncation: "disabled",
      usage: null,
      ...echo,
    };
  }

  /** The events of a job of one prompt and one choice. None after a cancel. */
  async *events(job: Job): AsyncGenerator<NumberedEvent> {
    yield* this.#opening();
    for await (const { event } of job.events()) {
      if (event.type === "text") yield* this.#delta(event.text, event.tokens);
      else if (event.type === "finish") this.#reason = event.reason;
      else if (event.type === "done") yield* this.#closing(event.usage);
    }
  }

  /** What an error makes of it. The last event is the one that clients raise. */
  failed(error: ApiError): NumberedEvent[] {
    const { message, code, param } = error.body.error;
    const response = this.#response("failed", [], {
      error: { code: code ?? "server_error", message },
    });
    return [
      this.#numbered({ type: "response.failed", response }),
      this.#numbered({ type: "error", code, message, param }),
    ];
  }

  *#opening(): Generator<NumberedEvent> {
    const response = this.#response("in_progress", []);
    yield this.#numbered({ type: "response.created", response });
    yield this.#numbered({ type: "response.in_progress", response });
    const item = this.#message("in_progress", []);
    yield this.#numbered({ type: "response.output_item.added", output_index: 0, item });
    yield this.#atText("response.content_part.added", { part: this.#part() });
  }

  *#delta(text: string, tokens: readonly TokenInfo[]): Generator<NumberedEvent> {
    const logprobs = this.#logprobs === null ? [] : chatLogprobs(tokens, this.#logprobs).content;
    if (text === "" && logprobs.length === 0) return;
    this.#text += text;
    for (const entry of logprobs) this.#scores.push(entry);
    yield this.#atText("response.output_text.delta", { delta: text, logprobs });
  }

  *#closing(usage: Usage): Generator<NumberedEvent> {
    const part = this.#part();
    yield this.#atText("response.output_text.done", { text: this.#text, logprobs: this.#scores });
    yield this.#atText("response.content_part.done", { part });
    const status = this.#reason === "length" ? "incomplete" : "completed";
    const item = this.#message(status, [part]);
    yield this.#numbered({ type: "response.output_item.done", output_index: 0, item });
    const response = this.#response(status, [item], {
      ...(status === "completed"
        ? { completed_at: Math.floor(Date.now() / 1000) }
        : { incomplete_details: { reason: "max_output_tokens" } }),
      usage: usageOf(usage),
    });
    yield this.#numbered({ type: `response.${status}`, response });
  }

  #numbered(event: Event): NumberedEvent {
    return { ...event, sequence_number: this.#sequence++ };
  }

  #atText(type: string, more: Body): NumberedEvent {
    return this.#numbered({ type, item_id: this.#item, ...AT, ...more });
  }

  #part(): Body {
    return {
      type: "output_text",
      text: this.#text,
      annotations: [],
      logprobs: [...this.#scores],
    };
  }

  #message(status: string, content: Body[]): Body {
    return { id: this.#item, type: "message", status, role: "assistant", content };
  }

  #response(status: string, output: Body[], more: Body = {}): Body {
    return { ...this.#base, status, output, ...more };
  }
}

/** The response that the events end with; null when the client went away before. */
export async function wholeResponse(events: AsyncIterable<NumberedEvent>): Promise<Body | null> {
  let last: NumberedEvent | null = null;
  for await (const event of events) last = event;
  const ended = last?.type === "response.completed" || last?.type === "response.incomplete";
  return ended ? last!["response"] as Body : null;
}
