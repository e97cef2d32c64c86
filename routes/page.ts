// SPDX-License-Identifier: Apache-2.0
/** The playground: the files that `deno task web` built, read once and served from memory. */
import type { Context, Deps, Handler } from "./context.ts";
import { ApiError } from "./errors.ts";

const TYPES: Readonly<Record<string, string>> = {
  "index.html": "text/html; charset=utf-8",
  "app.js": "text/javascript; charset=utf-8",
  "style.css": "text/css; charset=utf-8",
  "icon.svg": "image/svg+xml",
};

/** Nothing but our own files, no code within the page, and no page around ours. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS = {
  "content-security-policy": POLICY,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
  "cache-control": "no-cache",
};

interface PageFile {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string;
}

/** The files by name. */
export type Page = ReadonlyMap<string, PageFile>;

/** Reads the page from its folder; null when it isn't built, or may not be read. */
export async function readPage(folder: string): Promise<Page | null> {
  const files = new Map<string, PageFile>();
  try {
    for (const name of Object.keys(TYPES)) {
      const bytes = await Deno.readFile(`${folder}/${name}`);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      files.set(name, { bytes, etag: `"${digest.slice(0, 12).toHex()}"` });
    }
    return files;
  } catch (error) {
    const { NotFound, NotCapable } = Deno.errors;
    if (error instanceof NotFound || error instanceof NotCapable) return null;
    throw error;
  }
}

/** `GET /`: the playground for browsers, a line of text for everyone else. */
export function home({ options }: Deps): Handler {
  return (c) => {
    c.header("vary", "accept");
    if (options.page !== null && c.req.header("accept")?.includes("text/html")) {
      return send(c, options.page, "index.html");
    }
    return c.text(
      `Sounder ${options.version}: an OpenAI-compatible API at /v1 (see /docs), and /health, ` +
        `/metrics, /version. ${
          options.page === null ? "" : "In a browser this is the playground."
        }\n`,
    );
  };
}

/** `GET /playground/FILE`. */
export function pageFile({ options }: Deps): Handler {
  return (c) => {
    const name = c.req.param("file") ?? "";
    if (options.page === null || !options.page.has(name)) {
      throw new ApiError(404, "The playground has no such file", { code: "not_found" });
    }
    return send(c, options.page, name);
  };
}

function send(c: Context, page: Page, name: string): Response {
  const { bytes, etag } = page.get(name)!;
  const headers = { ...HEADERS, etag };
  if (c.req.header("if-none-match") === etag) return c.body(null, 304, headers);
  return c.body(bytes, 200, { ...headers, "content-type": TYPES[name]! });
}
