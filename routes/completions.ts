// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/completions`. */
import type { FinishReason, Service, TokenInfo } from "../src/types.ts";
import { admit, newHead, tokensWanted } from "./admission.ts";
import {
  type Admitted,
  type Choice,
  type ChunkWriter,
  collect,
  type Collection,
  streamAnswer,
} from "./answer.ts";
import type { Deps, Handler } from "./context.ts";
import {
  type CompletionLogprobs,
  CompletionLogprobWriter,
  extendLogprobs,
  promptLogprobs,
} from "./logprobs.ts";
import { readAsked } from "./models.ts";
import { type CompletionBody, parseCompletion } from "./schemas/completions.ts";
import { clientLeft, wholeAnswer } from "./whole_answer.ts";

/** The route. */
export function completions(deps: Deps): Handler {
  const { service } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    const { model, body } = await readAsked(c, deps, parseCompletion);
    const prompts: Int32Array[] = [];
    for (const prompt of body.prompts) {
      prompts.push(await encodePrompt(service, prompt, body.addSpecial));
      if (signal.aborted) return clientLeft();
    }
    const echoes = body.echo ? echoesOf(service, body, prompts) : null;
    const admitted = await admit(
      c,
      service,
      newHead("cmpl", "text_completion", model),
      body,
      prompts,
      {
        ...body.settings,
        format: body.format,
        maxTokens: body.maxTokens,
        continuesPrompt: true,
        logprobs: tokensWanted(body),
        scorePrompt: scoredAlternatives(body),
      },
    );
    if (body.stream) {
      return streamAnswer(c, deps, admitted, new CompletionWriter(body, prompts, echoes));
    }
    const answer = collect(admitted)
      .then((all) => all && completionOf(admitted, body, all, echoes));
    return wholeAnswer(c, deps, { answer, cancel: () => admitted.job.cancel() });
  };
}

/** What echo and `prompt_logprobs` ask of the prompt's tokens; null: nothing. */
function scoredAlternatives({ echo, logprobs, promptLogprobs }: CompletionBody): number | null {
  const echoed = echo ? logprobs : null;
  if (echoed === null || promptLogprobs === null) return echoed ?? promptLogprobs;
  return Math.max(echoed, promptLogprobs);
}

/** Text prompts are the author's own, markers and all, so special tokens in them are special. */
export async function encodePrompt(
  service: Service,
  prompt: string | Int32Array,
  addSpecial: boolean,
): Promise<Int32Array> {
  if (typeof prompt !== "string") return prompt;
  return await service.encodeText(prompt, { addSpecial, parseSpecial: true });
}

function echoesOf(service: Service, body: CompletionBody, prompts: Int32Array[]): string[] {
  const skipSpecial = body.settings.skipSpecialTokens;
  return body.prompts.map((prompt, i) =>
    typeof prompt === "string" ? prompt : service.decode(prompts[i]!, { skipSpecial })
  );
}

function completionOf(
  { head, n, prompts }: Admitted,
  body: CompletionBody,
  all: Collection,
  echoes: string[] | null,
): unknown {
  const choices = all.choices.map(({ text, tokens, reason, stopString }, index) => {
    const prompt = Math.floor(index / n);
    const echo = echoes?.[prompt] ?? "";
    return {
      index,
      text: echo + text,
      logprobs: wholeLogprobs(body, tokens, all.scored[prompt] ?? null, echo),
      finish_reason: reason,
      stop_reason: stopString,
      ...(body.promptLogprobs === null ? {} : {
        prompt_logprobs: promptLogprobs(all.scored[prompt] ?? [], body.promptLogprobs),
      }),
      ...(body.returnTokenIds
        ? {
          prompt_token_ids: [...prompts[prompt]!],
          token_ids: tokens.map((info) => info.token),
        }
        : {}),
    };
  });
  return { ...head, choices, usage: all.usage };
}

function wholeLogprobs(
  body: CompletionBody,
  tokens: readonly TokenInfo[],
  scored: readonly TokenInfo[] | null,
  echo: string,
): CompletionLogprobs | null {
  if (body.logprobs === null) return null;
  const writer = new CompletionLogprobWriter(body.logprobs);
  const columns = writer.prompt(body.echo ? scored ?? [] : [], echo);
  extendLogprobs(columns, writer.generated(tokens));
  return columns;
}

/** Pieces of a plain completion. */
class CompletionWriter implements ChunkWriter {
  readonly #body: CompletionBody;
  readonly #prompts: readonly Int32Array[];
  readonly #echoes: readonly string[] | null;
  readonly #logprobs: CompletionLogprobWriter[];
  /** Choices that said their prompt's tokens. */
  readonly #opened = new Set<number>();

  constructor(
    body: CompletionBody,
    prompts: readonly Int32Array[],
    echoes: readonly string[] | null,
  ) {
    this.#body = body;
    this.#prompts = prompts;
    this.#echoes = echoes;
    const { logprobs, settings } = body;
    this.#logprobs = logprobs === null ? [] : Array.from(
      { length: prompts.length * settings.n },
      () => new CompletionLogprobWriter(logprobs),
    );
  }

  /** The echo, unless its log-probabilities are still to come. */
  opening(index: number): Choice | null {
    if (this.#echoes === null || this.#body.logprobs !== null) return null;
    return this.#choice(index, this.#echo(index), null, []);
  }

  prompt(index: number, tokens: readonly TokenInfo[]): Choice | null {
    const echo = this.#echo(index);
    return this.#choice(index, echo, this.#logprobs[index]?.prompt(tokens, echo) ?? null, []);
  }

  text(index: number, text: string, tokens: readonly TokenInfo[]): Choice[] {
    const { logprobs, returnTokenIds } = this.#body;
    if (text === "" && (tokens.length === 0 || (logprobs === null && !returnTokenIds))) return [];
    const columns = tokens.length === 0 ? null : this.#logprobs[index]?.generated(tokens) ?? null;
    return [this.#choice(index, text, columns, tokens)];
  }

  finish(index: number, reason: FinishReason, stop: string | null): Choice[] {
    return [{ ...this.#choice(index, "", null, []), finish_reason: reason, stop_reason: stop }];
  }

  #echo(index: number): string {
    return this.#echoes?.[this.#promptOf(index)] ?? "";
  }

  #promptOf(index: number): number {
    return Math.floor(index / this.#body.settings.n);
  }

  #choice(
    index: number,
    text: string,
    logprobs: CompletionLogprobs | null,
    tokens: readonly TokenInfo[],
  ): Choice {
    const choice = { index, text, logprobs, finish_reason: null };
    if (!this.#body.returnTokenIds) return choice;
    const first = !this.#opened.has(index);
    this.#opened.add(index);
    return {
      ...choice,
      ...(first ? { prompt_token_ids: [...this.#prompts[this.#promptOf(index)]!] } : {}),
      token_ids: tokens.map((info) => info.token),
    };
  }
}
