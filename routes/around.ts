// SPDX-License-Identifier: Apache-2.0
/** What happens around every request: its id, its record, and whether it may be asked at all. */
import type { MiddlewareHandler } from "hono";
import type { ApiKeys } from "./auth.ts";
import type { Deps, Env } from "./context.ts";
import { RequestRecord } from "./request_record.ts";
import { activeSpan } from "./span.ts";

/** What a route answers before everything else is looked at. */
export type Around = MiddlewareHandler<Env>;

/** Paths that need no key: load balancers ask them, and people in a browser. */
const OPEN_PATHS = new Set([
  ...["/", "/health", "/health/live", "/health/ready", "/ping", "/version"],
  ...["/openapi.json", "/docs"],
]);

/** The playground itself, which asks for the key. */
const PAGE_FILES = "/playground/";

/** Paths that are asked every few seconds: not logged. */
const QUIET_PATHS = new Set(["/health", "/health/live", "/health/ready", "/ping", "/metrics"]);

/** Gives the request an id, and counts and logs it when it has ended. */
export function recorded({ options }: Deps): Around {
  const { metrics, logRequest } = options;
  return async (c, next) => {
    const id = requestIdOf(c.req.header("x-request-id"));
    c.set("requestId", id);
    c.header("x-request-id", id);
    c.header("x-content-type-options", "nosniff");
    // Hono's path is decoded: a line break in it would forge a line of the log.
    const path = new URL(c.req.url).pathname;
    const span = activeSpan();
    const record = new RequestRecord(id, c.req.method, path.slice(0, 200), (entry) => {
      if (!QUIET_PATHS.has(path) && !path.startsWith(PAGE_FILES)) logRequest(entry);
      span?.(c.get("route"), entry);
    });
    c.set("record", record);
    c.set("route", "none");
    await next();
    const error = c.get("error") ?? null;
    metrics.answered(c.get("route"), c.req.method, c.res.status, error);
    record.answered(c.res.status, error);
  };
}

/** Asks for the key. */
export function authorized(keys: ApiKeys): Around {
  return async (c, next) => {
    const { method, path } = c.req;
    const open = method === "OPTIONS" || OPEN_PATHS.has(path) || path.startsWith(PAGE_FILES);
    c.set("cacheScope", open ? "" : keys.authorize(c.req.raw));
    await next();
  };
}

/** An incoming id is kept when it is safe to print; it is what the client's logs show. */
function requestIdOf(given: string | undefined): string {
  if (given !== undefined && /^[\w.:-]{1,128}$/.test(given)) return given;
  return `req_${crypto.randomUUID().replaceAll("-", "")}`;
}
