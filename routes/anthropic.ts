// SPDX-License-Identifier: Apache-2.0
/** Anthropic's `POST /v1/messages` and `POST /v1/messages/count_tokens`. */
import { newId, submit } from "./admission.ts";
import { streamFrames } from "./answer.ts";
import { errorEvent, messageEvents, wholeMessage } from "./anthropic_events.ts";
import type { ApiError } from "./errors.ts";
import type { Deps, Handler } from "./context.ts";
import { readConversation } from "./models.ts";
import { parseConversation, parseMessagesRequest } from "./schemas/anthropic.ts";
import { typedFrame, typedFrames } from "./sse.ts";
import { clientLeft, wholeAnswer } from "./whole_answer.ts";

/** The route. */
export function messages(deps: Deps): Handler {
  const { service } = deps;
  return async (c) => {
    const { model, body, prompt } = await readConversation(c, deps, parseMessagesRequest);
    if (c.req.raw.signal.aborted) return clientLeft();
    const id = newId("msg");
    const job = await submit(c, service, { id, model: model.id, stream: body.stream }, [prompt], {
      ...body.settings,
      format: body.format,
      calls: body.calls,
      continuesPrompt: false,
      maxTokens: body.maxTokens,
      logprobs: null,
      scorePrompt: null,
    });
    const head = { id, model: model.id, promptTokens: prompt.length };
    const events = messageEvents(head, job, body.calls);
    const failed = (error: ApiError) => errorEvent(error, c.get("requestId"));
    if (body.stream) {
      const frame = (error: ApiError) => typedFrame(failed(error));
      return streamFrames(c, deps, job, typedFrames(events), frame);
    }
    const cancel = () => job.cancel();
    return wholeAnswer(c, deps, { answer: wholeMessage(events), cancel, failed });
  };
}

/** How many tokens the conversation has as a prompt. */
export function countTokens(deps: Deps): Handler {
  return async (c) => {
    const { prompt } = await readConversation(c, deps, parseConversation);
    return c.json({ input_tokens: prompt.length });
  };
}
