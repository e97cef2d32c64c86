// SPDX-License-Identifier: Apache-2.0
/** Anthropic's `POST /v1/messages` and `POST /v1/messages/count_tokens`. */
import { newId, submit } from "./admission.ts";
import { clientLeft, streamFrames } from "./answer.ts";
import { errorEvent, messageEvents, wholeMessage } from "./anthropic_events.ts";
import type { ApiError } from "./errors.ts";
import { readJson } from "./body.ts";
import type { Deps, Handler } from "./context.ts";
import { requireChat, requireModel } from "./models.ts";
import { parseConversation, parseMessagesRequest } from "./schemas/anthropic.ts";
import { typedFrame, typedFrames } from "./sse.ts";

/** The route. */
export function messages(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    service.model();
    const json = await readJson(c.req.raw, options.maxBodyBytes);
    const model = requireModel(deps, json["model"]);
    const body = parseMessagesRequest(json, model);
    requireChat(model);
    const prompt = await service.encodeChat(body.messages, body.template);
    if (signal.aborted) return clientLeft();
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
    if (body.stream) {
      const failed = (error: ApiError) => typedFrame(errorEvent(error, c.get("requestId")));
      return streamFrames(c, deps, job, typedFrames(events), failed);
    }
    const message = await wholeMessage(events);
    return message === null ? clientLeft() : c.json(message);
  };
}

/** How many tokens the conversation has as a prompt. */
export function countTokens(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    service.model();
    const json = await readJson(c.req.raw, options.maxBodyBytes);
    const model = requireModel(deps, json["model"]);
    const body = parseConversation(json, model);
    requireChat(model);
    const prompt = await service.encodeChat(body.messages, body.template);
    return c.json({ input_tokens: prompt.length });
  };
}
