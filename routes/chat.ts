// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/chat/completions`. */
import type { FinishReason, TokenInfo } from "../src/types.ts";
import {
  type Admitted,
  type Choice,
  type ChunkWriter,
  clientLeft,
  collect,
  type Collection,
  streamAnswer,
} from "./answer.ts";
import { admit, newHead, tokensWanted } from "./admission.ts";
import { readJson } from "./body.ts";
import type { Deps, Handler } from "./context.ts";
import { chatLogprobs, promptLogprobs } from "./logprobs.ts";
import { requireChat, requireModel } from "./models.ts";
import { type ChatBody, parseChat } from "./schemas/chat.ts";

/** The route. */
export function chatCompletions(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    service.model();
    const json = await readJson(c.req.raw, options.maxBodyBytes);
    const model = requireModel(deps, json["model"]);
    const body = parseChat(json, model);
    requireChat(model);
    const prompt = await service.encodeChat(body.messages, body.template);
    if (signal.aborted) return clientLeft();
    const head = newHead(
      "chatcmpl",
      body.stream ? "chat.completion.chunk" : "chat.completion",
      model,
    );
    const admitted = await admit(c, service, head, body, [prompt], {
      ...body.settings,
      format: body.format,
      continuesPrompt: false,
      maxTokens: body.maxTokens,
      logprobs: tokensWanted(body),
      scorePrompt: body.promptLogprobs,
    });
    if (body.stream) {
      return streamAnswer(c, deps, admitted, new ChatWriter(body, prompt, options.pingSeconds > 0));
    }
    const collected = await collect(admitted);
    return collected === null ? clientLeft() : c.json(wholeAnswer(admitted, body, collected));
  };
}

function wholeAnswer({ head, prompts }: Admitted, body: ChatBody, all: Collection): unknown {
  const choices = all.choices.map(({ text, tokens, reason, stopString }, index) => ({
    index,
    message: { role: "assistant", content: text, refusal: null },
    logprobs: body.logprobs === null ? null : chatLogprobs(tokens, body.logprobs),
    finish_reason: reason,
    stop_reason: stopString,
    ...(body.returnTokenIds ? { token_ids: tokens.map((info) => info.token) } : {}),
  }));
  const ids = body.returnTokenIds ? { prompt_token_ids: [...prompts[0]!] } : {};
  const scored = body.promptLogprobs === null
    ? {}
    : { prompt_logprobs: promptLogprobs(all.scored[0] ?? [], body.promptLogprobs) };
  return { ...head, choices, usage: all.usage, ...ids, ...scored };
}

/** Deltas of a chat answer. */
class ChatWriter implements ChunkWriter {
  readonly #body: ChatBody;
  readonly #prompt: Int32Array;
  readonly #roleAtOnce: boolean;
  /** Choices whose role went out: each must have one, once. */
  readonly #opened = new Set<number>();

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

  text(index: number, text: string, tokens: readonly TokenInfo[]): Choice | null {
    const { logprobs, returnTokenIds } = this.#body;
    if (text === "" && (tokens.length === 0 || (logprobs === null && !returnTokenIds))) return null;
    return this.#choice(index, { content: text }, null, tokens);
  }

  finish(index: number, reason: FinishReason, stop: string | null): Choice {
    return { ...this.#choice(index, {}, reason, []), stop_reason: stop };
  }

  #choice(
    index: number,
    delta: { content?: string },
    reason: FinishReason | null,
    tokens: readonly TokenInfo[],
  ): Choice {
    const { logprobs, returnTokenIds } = this.#body;
    const first = !this.#opened.has(index);
    this.#opened.add(index);
    const ids = first && index === 0 ? { prompt_token_ids: [...this.#prompt] } : {};
    return {
      index,
      delta: first ? { role: "assistant", content: "", refusal: null, ...delta } : delta,
      logprobs: logprobs === null || tokens.length === 0 ? null : chatLogprobs(tokens, logprobs),
      finish_reason: reason,
      ...(returnTokenIds ? { ...ids, token_ids: tokens.map((info) => info.token) } : {}),
    };
  }
}
