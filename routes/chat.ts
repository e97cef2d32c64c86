// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/chat/completions`. */
import { type Admitted, collect, type Collection, streamAnswer } from "./answer.ts";
import { admit, newHead, tokensWanted } from "./admission.ts";
import type { Deps, Handler } from "./context.ts";
import { ChatWriter, wholeChoice } from "./chat_choices.ts";
import { promptLogprobs } from "./logprobs.ts";
import { readConversation } from "./models.ts";
import { type ChatBody, parseChat } from "./schemas/chat.ts";
import { clientLeft, wholeAnswer } from "./whole_answer.ts";

/** The route. */
export function chatCompletions(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    const { model, body, prompt } = await readConversation(c, deps, parseChat);
    if (c.req.raw.signal.aborted) return clientLeft();
    const head = newHead(
      "chatcmpl",
      body.stream ? "chat.completion.chunk" : "chat.completion",
      model,
    );
    const admitted = await admit(c, service, head, body, [prompt], {
      ...body.settings,
      format: body.format,
      calls: body.calls,
      continuesPrompt: false,
      maxTokens: body.maxTokens,
      logprobs: tokensWanted(body),
      scorePrompt: body.promptLogprobs,
    });
    if (body.stream) {
      return streamAnswer(c, deps, admitted, new ChatWriter(body, prompt, options.pingSeconds > 0));
    }
    const answer = collect(admitted).then((all) => all && completionOf(admitted, body, all));
    return wholeAnswer(c, deps, { answer, cancel: () => admitted.job.cancel() });
  };
}

function completionOf({ head, prompts }: Admitted, body: ChatBody, all: Collection): unknown {
  const choices = all.choices.map((choice, index) => wholeChoice(choice, index, body));
  const ids = body.returnTokenIds ? { prompt_token_ids: [...prompts[0]!] } : {};
  const scored = body.promptLogprobs === null
    ? {}
    : { prompt_logprobs: promptLogprobs(all.scored[0] ?? [], body.promptLogprobs) };
  return { ...head, choices, usage: all.usage, ...ids, ...scored };
}
