// SPDX-License-Identifier: Apache-2.0
/** The server as the page sees it. */
import { eventData } from "./events.ts";

/** An error with a sentence for the person at the page. */
export class ServerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** What is asked. */
export interface Question {
  model: string;
  messages: Message[];
  attention: string;
  budget: number;
  temperature: number;
  maxTokens: number;
}

/** What an answer came to, as the server counts. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  sounder: {
    attention: string;
    keys_read: number;
    keys_total: number;
    rows_read: number | null;
    rows_total: number | null;
    effective_samples: number | null;
    standard_error: number | null;
    cached_tokens: number;
  };
}

/** What arrives of an answer. */
export type Arrival =
  | { text: string }
  | { usage: Usage }
  | { end: string }
  /** Share of the prompt that was read, 0 to 1. */
  | { read: number };

export interface ModelInfo {
  id: string;
  contextTokens: number;
}

/** What the server is doing. */
export interface Health {
  ready: boolean;
  /** While it isn't: a sentence. */
  sentence: string;
}

export class Server {
  /** Sent with each request; "": none. */
  key = "";

  async health(): Promise<Health> {
    const response = await this.#fetch("health");
    const { status, progress, reason } = await response.json();
    if (response.ok) return { ready: true, sentence: "" };
    const sentences: Record<string, string> = {
      loading: `The model is loading, ${Math.round(100 * progress)} %.`,
      draining: "The server is shutting down.",
      failed: `The model cannot be loaded: ${reason}`,
    };
    return { ready: false, sentence: sentences[status] ?? "The server isn't ready." };
  }

  async model(): Promise<ModelInfo> {
    const { data } = await this.#json("v1/models");
    return { id: data[0].id, contextTokens: data[0].max_model_len };
  }

  /** How many tokens a text has. */
  async countTokens(text: string): Promise<number> {
    const { count } = await this.#json("tokenize", { prompt: text, add_special_tokens: false });
    return count;
  }

  /** An answer as it comes. */
  async *ask(question: Question, signal: AbortSignal): AsyncGenerator<Arrival> {
    const { model, messages, attention, budget, temperature, maxTokens } = question;
    const response = await this.#ok("v1/chat/completions", {
      model,
      messages,
      temperature,
      max_tokens: maxTokens,
      stream: true,
      stream_options: { include_usage: true },
      return_progress: true,
      sounder: { attention, budget },
    }, signal);
    for await (const data of eventData(response.body!)) {
      if (data === "[DONE]") return;
      const { choices, usage, error, prompt_progress: progress } = JSON.parse(data);
      if (progress) yield { read: progress.processed / progress.total };
      if (error) throw new ServerError(500, error.message);
      if (usage) yield { usage };
      const [choice] = choices;
      if (choice?.delta.content) yield { text: choice.delta.content };
      if (choice?.finish_reason) yield { end: choice.finish_reason };
    }
    throw new ServerError(0, "The connection to the server was lost before the answer was whole.");
  }

  // deno-lint-ignore no-explicit-any
  async #json(path: string, body?: unknown): Promise<any> {
    return await (await this.#ok(path, body)).json();
  }

  async #ok(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const response = await this.#fetch(path, {
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.ok) return response;
    throw new ServerError(response.status, await sentenceOf(response));
  }

  async #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = this.key === "" ? undefined : { authorization: `Bearer ${this.key}` };
    try {
      return await fetch(path, { ...init, ...(headers === undefined ? {} : { headers }) });
    } catch (error) {
      if ((error as Error).name === "AbortError") throw error;
      throw new ServerError(0, "The server cannot be reached. Is it still running?");
    }
  }
}

/** The server's own sentence, with a full stop. */
async function sentenceOf(response: Response): Promise<string> {
  const body = await response.json().catch(() => null);
  const message: unknown = body?.error?.message;
  if (typeof message !== "string") return `The server answered with status ${response.status}.`;
  return /[.!?]$/.test(message) ? message : `${message}.`;
}
