// SPDX-License-Identifier: Apache-2.0
/** The HTTP application: which path does what, and what happens around every request. */
import { Hono } from "hono";
import type { Service } from "../src/types.ts";
import { countTokens, messages } from "./anthropic.ts";
import { errorEvent } from "./anthropic_events.ts";
import { authorized, recorded } from "./around.ts";
import { ApiKeys } from "./auth.ts";
import { answersReadable, pagesAllowed } from "./browsers.ts";
import { chatCompletions } from "./chat.ts";
import { completions } from "./completions.ts";
import type { AppOptions, Context, Deps, Env, Handler } from "./context.ts";
import { docs, openApiJson } from "./docs.ts";
import { embeddings } from "./embeddings.ts";
import { ApiError, toApiError } from "./errors.ts";
import { health, live, version } from "./health.ts";
import { Metrics, metricsText } from "./metrics.ts";
import { listModels, showModel } from "./models.ts";
import { responses } from "./responses.ts";
import { deleteSession, listSessions, loadSession, saveSession, showSession } from "./sessions.ts";
import { home, pageFile } from "./page.ts";
import { detokenize, tokenize, tokenizerInfo } from "./tokenize.ts";

export type { AppOptions } from "./context.ts";

/** Longest request body unless the options say otherwise. */
export const DEFAULT_BODY_BYTES = 32 * 1024 * 1024;

/** Handlers by path and method. */
export type Routes = Record<string, { GET?: Handler; POST?: Handler; DELETE?: Handler }>;

/** What is where. */
export function routesOf(deps: Deps): Routes {
  return {
    "/": { GET: home(deps) },
    "/playground/:file": { GET: pageFile(deps) },
    "/health": { GET: health(deps) },
    "/health/ready": { GET: health(deps) },
    "/health/live": { GET: live() },
    "/metrics": { GET: metricsText(deps) },
    "/ping": { GET: health(deps) },
    "/version": { GET: version(deps) },
    "/openapi.json": { GET: openApiJson(deps) },
    "/docs": { GET: docs(deps) },
    "/v1/models": { GET: listModels(deps) },
    "/v1/models/:id{.+}": { GET: showModel(deps) },
    "/v1/chat/completions": { POST: chatCompletions(deps) },
    "/v1/completions": { POST: completions(deps) },
    "/v1/embeddings": { POST: embeddings(deps) },
    "/v1/responses": { POST: responses(deps) },
    "/v1/messages": { POST: messages(deps) },
    "/v1/messages/count_tokens": { POST: countTokens(deps) },
    "/tokenize": { POST: tokenize(deps) },
    "/detokenize": { POST: detokenize(deps) },
    "/tokenizer_info": { GET: tokenizerInfo(deps) },
    "/sessions": { GET: listSessions(deps) },
    "/sessions/:id": {
      GET: showSession(deps),
      POST: saveSession(deps),
      DELETE: deleteSession(deps),
    },
    "/sessions/:id/load": { POST: loadSession(deps) },
  };
}

/** The application over a service. `Deno.serve(createApp(...).fetch)` serves it. */
export function createApp(service: Service, options: AppOptions): Hono<Env> {
  const deps: Deps = {
    service,
    options: {
      apiKeys: [],
      sharedCache: false,
      corsOrigins: [],
      localOnly: true,
      modelAliases: [],
      maxBodyBytes: DEFAULT_BODY_BYTES,
      pingSeconds: 10,
      earlyMs: 1500,
      log: (line) => console.error(line),
      logRequest: () => {},
      metrics: new Metrics(),
      page: null,
      ...options,
    },
  };
  const app = new Hono<Env>({ strict: false });
  app.use(recorded(deps));
  const { corsOrigins: origins, localOnly } = deps.options;
  if (origins.length > 0) app.use(answersReadable(origins));
  app.use(pagesAllowed({ origins, localOnly }));
  app.use(authorized(new ApiKeys(deps.options.apiKeys, deps.options.sharedCache)));
  const routes = routesOf(deps);
  for (const [path, handlers] of Object.entries(routes)) mount(app, path, handlers);
  app.notFound((c) => answer(c, notFound(c, routes)));
  app.onError((error, c) => answer(c, toApiError(error, c.get("requestId"), deps.options.log)));
  return app;
}

function mount(app: Hono<Env>, path: string, handlers: Routes[string]): void {
  const methods = Object.keys(handlers);
  app.use(path, async (c, next) => {
    c.set("route", path);
    await next();
  });
  for (const [method, handler] of Object.entries(handlers)) app.on(method, path, handler);
  // Hono answers HEAD through the GET handler.
  const allow = [...methods, ...(handlers.GET ? ["HEAD"] : []), "OPTIONS"].join(", ");
  app.all(path, (c) => {
    if (c.req.method === "OPTIONS") return c.body(null, 204, { allow });
    throw new ApiError(405, `${c.req.path} takes ${methods.join(" or ")}, not ${c.req.method}`, {
      code: "method_not_allowed",
      headers: { allow },
    });
  });
}

function notFound(c: Context, routes: Routes): ApiError {
  const { method, path } = c.req;
  const hint = Object.hasOwn(routes, `/v1${path}`) ? `: did you mean /v1${path}?` : "";
  const shown = path.length > 200 ? `${path.slice(0, 200)}…` : path;
  return new ApiError(404, `There is nothing at ${method} ${shown}${hint}`.toWellFormed(), {
    code: "not_found",
  });
}

/** An error, in the envelope that clients of the path know. */
function answer(c: Context, error: ApiError): Response {
  const { code, type } = error.body.error;
  c.set("error", code ?? type);
  const body = c.req.path.startsWith("/v1/messages")
    ? errorEvent(error, c.get("requestId"))
    : error.body;
  return c.json(body, error.status as 400, { ...error.headers });
}
