// SPDX-License-Identifier: Apache-2.0
/** The HTTP application: which path does what, and what happens around every request. */
import { Hono } from "hono";
import type { Service } from "../src/types.ts";
import { authorize } from "./auth.ts";
import { chatCompletions } from "./chat.ts";
import { completions } from "./completions.ts";
import type { AppOptions, Context, Deps, Env, Handler } from "./context.ts";
import { ApiError, toApiError } from "./errors.ts";
import { health, root, version } from "./health.ts";
import { listModels, showModel } from "./models.ts";
import { detokenize, tokenize, tokenizerInfo } from "./tokenize.ts";

export type { AppOptions } from "./context.ts";

/** Longest request body unless the options say otherwise. */
export const DEFAULT_BODY_BYTES = 32 * 1024 * 1024;

/** Paths that need no key: load balancers ask them. */
const OPEN_PATHS = new Set(["/", "/health", "/ping", "/version"]);

type Routes = Record<string, { GET?: Handler; POST?: Handler }>;

function routesOf(deps: Deps): Routes {
  return {
    "/": { GET: root(deps) },
    "/health": { GET: health(deps) },
    "/ping": { GET: health(deps) },
    "/version": { GET: version(deps) },
    "/v1/models": { GET: listModels(deps) },
    "/v1/models/:id{.+}": { GET: showModel(deps) },
    "/v1/chat/completions": { POST: chatCompletions(deps) },
    "/v1/completions": { POST: completions(deps) },
    "/tokenize": { POST: tokenize(deps) },
    "/detokenize": { POST: detokenize(deps) },
    "/tokenizer_info": { GET: tokenizerInfo(deps) },
  };
}

/** The application over a service. `Deno.serve(createApp(...).fetch)` serves it. */
export function createApp(service: Service, options: AppOptions): Hono<Env> {
  const deps: Deps = {
    service,
    options: {
      apiKey: null,
      modelAliases: [],
      maxBodyBytes: DEFAULT_BODY_BYTES,
      pingSeconds: 10,
      log: (line) => console.error(line),
      ...options,
    },
  };
  const app = new Hono<Env>({ strict: false });
  app.use(async (c, next) => {
    const requestId = requestIdOf(c.req.header("x-request-id"));
    c.set("requestId", requestId);
    c.header("x-request-id", requestId);
    const { apiKey } = deps.options;
    if (apiKey && c.req.method !== "OPTIONS" && !OPEN_PATHS.has(c.req.path)) {
      authorize(c.req.raw, apiKey);
    }
    await next();
  });
  const routes = routesOf(deps);
  for (const [path, handlers] of Object.entries(routes)) mount(app, path, handlers);
  app.notFound((c) => answer(c, notFound(c, routes)));
  app.onError((error, c) => answer(c, toApiError(error, c.get("requestId"), deps.options.log)));
  return app;
}

function mount(app: Hono<Env>, path: string, handlers: Routes[string]): void {
  const methods = Object.keys(handlers);
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

/** An incoming id is kept when it is safe to print; it is what the client's logs show. */
function requestIdOf(given: string | undefined): string {
  if (given !== undefined && /^[\w.:-]{1,128}$/.test(given)) return given;
  return `req_${crypto.randomUUID().replaceAll("-", "")}`;
}

function notFound(c: Context, routes: Routes): ApiError {
  const { method, path } = c.req;
  const hint = Object.hasOwn(routes, `/v1${path}`) ? `: did you mean /v1${path}?` : "";
  const shown = path.length > 200 ? `${path.slice(0, 200)}…` : path;
  return new ApiError(404, `There is nothing at ${method} ${shown}${hint}`.toWellFormed(), {
    code: "not_found",
  });
}

function answer(c: Context, error: ApiError): Response {
  return c.json(error.body, error.status as 400, { ...error.headers });
}
