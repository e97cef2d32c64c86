// SPDX-License-Identifier: Apache-2.0
/**
 * Web pages. Browsers let any page send requests to any address, this machine's own included, and only keep
 * it from reading the answers: so pages of other origins are refused unless they were allowed.
 */
import { cors } from "hono/cors";
import type { Around } from "./around.ts";
import { ApiError } from "./errors.ts";

/** How long a browser may keep what a preflight said. */
const PREFLIGHT_SECONDS = 600;

/** What is asked of pages. */
export interface BrowserRules {
  /** Origins whose pages may ask; "*": all. */
  origins: readonly string[];
  /** The server listens on this machine only, and its name is known. */
  localOnly: boolean;
}

/** Refuses pages of other origins. */
export function pagesAllowed({ origins, localOnly }: BrowserRules): Around {
  return async (c, next) => {
    const origin = c.req.header("origin") ?? impliedOrigin(c.req.raw.headers);
    if (origin !== null && !origins.includes("*") && !origins.includes(origin)) {
      if (!ownPage(origin, c.req.header("host") ?? "", localOnly)) throw refused(origin);
    }
    await next();
  };
}

/** Browsers send no origin when a page reads from where it came from; null for what is no browser. */
function impliedOrigin(headers: Headers): string | null {
  const host = headers.get("host");
  if (host === null || !headers.get("user-agent")?.startsWith("Mozilla/")) return null;
  // A proxy says how it was asked.
  const scheme = headers.get("x-forwarded-proto") === "https" ? "https" : "http";
  return `${scheme}://${host}`;
}

/** Lets pages of these origins read the answers. */
export function answersReadable(origins: readonly string[]): Around {
  return cors({
    origin: origins.includes("*") ? "*" : [...origins],
    allowMethods: ["GET", "HEAD", "POST", "DELETE"],
    exposeHeaders: ["x-request-id", "retry-after"],
    maxAge: PREFLIGHT_SECONDS,
  });
}

/**
 * The page came from this server. One whose name was made to point here afterwards (DNS rebinding) looks
 * the same, but for the name.
 */
function ownPage(origin: string, host: string, localOnly: boolean): boolean {
  if (!URL.canParse(origin)) return false;
  const page = new URL(origin);
  const here = `${page.protocol}//${host}`;
  return URL.canParse(here) && page.host === new URL(here).host &&
    (!localOnly || namesThisMachine(page.hostname));
}

/** Addresses can't be made to point elsewhere, nor can localhost. */
function namesThisMachine(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost") || /^[\d.]+$|^\[/.test(name);
}

/** Whether a server that listens on this address is reached from this machine only. */
export function isLocal(address: string): boolean {
  return address === "localhost" || address === "::1" || /^127\.[\d.]+$/.test(address);
}

function refused(origin: string): ApiError {
  const shown = origin.slice(0, 200);
  return new ApiError(
    403,
    `Web pages of ${shown} may not use this server: it would have to be started with --cors ${shown}`,
    { code: "origin_not_allowed" },
  );
}
