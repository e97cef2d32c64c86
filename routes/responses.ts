// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/responses`. */
import { newId, submit } from "./admission.ts";
import { clientLeft, streamFrames } from "./answer.ts";
import { readJson } from "./body.ts";
import type { Deps, Handler } from "./context.ts";
import type { ApiError } from "./errors.ts";
import { requireChat, requireModel } from "./models.ts";
import { ResponseBuilder, wholeResponse } from "./response_events.ts";
import { parseResponses } from "./schemas/responses.ts";
import { typedFrame, typedFrames } from "./sse.ts";

/** The route. */
export function responses(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    service.model();
    const json = await readJson(c.req.raw, options.maxBodyBytes);
    const model = requireModel(deps, json["model"]);
    const body = parseResponses(json, model);
    requireChat(model, "input");
    const prompt = await service.encodeChat(body.messages, body.template);
    if (signal.aborted) return clientLeft();
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
    const response = await wholeResponse(events);
    return response === null ? clientLeft() : c.json(response);
  };
}
