// SPDX-License-Identifier: Apache-2.0
/** The models as clients see them, which names mean ours, and what every request to a model begins with. */
import type { ChatMessage, ChatOptions } from "../src/tokenizer/tokenizer.ts";
import type { ModelInfo } from "../src/types.ts";
import { readJson } from "./body.ts";
import type { Context, Deps, Handler } from "./context.ts";
import { ApiError, invalid } from "./errors.ts";
import { refuse, show } from "./schemas/fields.ts";

function entry(model: ModelInfo, id: string): Record<string, unknown> {
  return {
    id,
    object: "model",
    created: Math.floor(model.created),
    owned_by: "sounder",
    // Clients of vLLM take the tokenizer's name from `root`.
    root: model.id,
    parent: null,
    // vLLM's name, and that of OpenRouter and LM Studio.
    max_model_len: model.contextTokens,
    context_length: model.contextTokens,
  };
}

/** `GET /v1/models`: the model and its aliases. */
export function listModels({ service, options }: Deps): Handler {
  return (c) => {
    const model = service.model();
    const ids = [...new Set([model.id, ...options.modelAliases])];
    return c.json({ object: "list", data: ids.map((id) => entry(model, id)) });
  };
}

/** `GET /v1/models/{id}`; ids may contain slashes. */
export function showModel(deps: Deps): Handler {
  return (c) => {
    const id = c.req.param("id") ?? "";
    return c.json(entry(requireModel(deps, id), id));
  };
}

/**
 * What a request to the model asks for. A model that is not there yet, and one that is not ours, are refused
 * before the rest is looked at.
 */
export async function readAsked<T>(
  c: Context,
  deps: Deps,
  parse: (json: Record<string, unknown>, model: ModelInfo) => T,
): Promise<{ model: ModelInfo; body: T }> {
  deps.service.model();
  const json = await readJson(c.req.raw, deps.options.maxBodyBytes);
  const model = requireModel(deps, json["model"]);
  return { model, body: parse(json, model) };
}

/** A conversation to go on with. */
interface Conversation {
  messages: readonly ChatMessage[];
  template: ChatOptions;
}

/** What a request asks for that brings a conversation, in the field `param`, and the prompt that it makes. */
export async function readConversation<T extends Conversation>(
  c: Context,
  deps: Deps,
  parse: (json: Record<string, unknown>, model: ModelInfo) => T,
  param = "messages",
): Promise<{ model: ModelInfo; body: T; prompt: Int32Array }> {
  const { model, body } = await readAsked(c, deps, parse);
  if (!model.hasChatTemplate) {
    throw invalid(param, "This model has no chat template: use /v1/completions");
  }
  const prompt = await deps.service.encodeChat(body.messages, body.template);
  return { model, body, prompt };
}

/** The model, if `name` means it; absent, null and "" do. */
export function requireModel({ service, options }: Deps, name: unknown): ModelInfo {
  const model = service.model();
  if (name === undefined || name === null || name === "") return model;
  if (typeof name !== "string") refuse(["model"], `must be a string, not ${show(name)}`);
  if (name === model.id || options.modelAliases.includes(name)) return model;
  throw new ApiError(
    404,
    `The model ${show(name)} does not exist: this server has ${show(model.id)}`,
    { param: "model", code: "model_not_found" },
  );
}
