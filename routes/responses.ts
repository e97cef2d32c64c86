// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/responses`. */
import { newId, submit } from "./admission.ts";
import { streamFrames } from "./answer.ts";
import type { Deps, Handler } from "./context.ts";
import type { ApiError } from "./errors.ts";
import { readConversation } from "./models.ts";
import { ResponseBuilder, wholeResponse } from "./response_events.ts";
import { parseResponses } from "./schemas/responses.ts";
import { typedFrame, typedFrames } from "./sse.ts";
import { clientLeft, wholeAnswer } from "./whole_answer.ts";

/** The route. */
export function responses(deps: Deps): Handler {
  const { service } = deps;
  return async (c) => {
    const { model, body, prompt } = await readConversation(c, deps, parseResponses, "input");
    if (c.req.raw.signal.aborted) return clientLeft();
    const id = newId("resp");
    const job = await submit(
      c,
      service,
      { id, model: model.id, stream: body.stream, field: "input" },
      [prompt],
      {
        ...body.settings,
        format: body.format,
        calls: body.calls,
        continuesPrompt: false,
        maxTokens: body.maxTokens,
        logprobs: body.logprobs,
        scorePrompt: null,
      },
    );
    const builder = new ResponseBuilder(id, model.id, body);
    const events = builder.events(job);
    if (body.stream) {
      const failed = (error: ApiError) => builder.failed(error).map(typedFrame).join("");
      return streamFrames(c, deps, job, typedFrames(events), failed);
    }
    return wholeAnswer(c, deps, {
      answer: wholeResponse(events),
      cancel: () => job.cancel(),
      failed: (error) => builder.failed(error)[0]!["response"],
    });
  };
}
