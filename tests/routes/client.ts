// SPDX-License-Identifier: Apache-2.0
/** What the route tests share: an app over a fake service, and its answers in a readable form. */
import { assert, assertEquals } from "@std/assert";
import { type AppOptions, createApp } from "../../routes/app.ts";
import type { FakeService } from "../fixtures/fake_service.ts";

/** An app; bugs it logs fail the test unless it takes the log. */
export function appOver(service: FakeService, options: Partial<AppOptions> = {}) {
  return createApp(service, {
    version: "1.2.3",
    log: (line) => {
      throw new Error(`logged: ${line}`);
    },
    ...options,
  });
}
export type App = ReturnType<typeof appOver>;

/** Sends JSON, or a string as it is. */
export async function post(app: App, path: string, body: unknown, init: RequestInit = {}) {
  return await app.request(path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
  });
}

// deno-lint-ignore no-explicit-any
export type Json = any;

/** The body of a successful answer. */
export async function ok(response: Response): Promise<Json> {
  const body = await response.text();
  assertEquals(response.status, 200, body);
  return JSON.parse(body);
}

/** The error of an answer, its envelope checked. */
export async function failed(response: Response, status: number) {
  const text = await response.text();
  assertEquals(response.status, status, text);
  assertEquals(response.headers.get("content-type"), "application/json");
  return envelope(JSON.parse(text));
}

/** Exactly the four keys, with the types that clients need. */
export function envelope(body: Json): {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
} {
  assertEquals(Object.keys(body), ["error"]);
  assertEquals(Object.keys(body.error), ["message", "type", "param", "code"]);
  const { message, type, param, code } = body.error;
  assert(typeof message === "string" && message.length > 0 && message.length < 1000);
  assert(typeof type === "string");
  assert(param === null || typeof param === "string");
  assert(code === null || typeof code === "string");
  return body.error;
}

/** `usage.sounder` of the fake service's answers, whose tokens attend exactly. */
export const EXACT_USAGE = {
  attention: "full",
  keys_read: 40,
  keys_total: 50,
  rows_read: null,
  rows_total: null,
  effective_samples: null,
  standard_error: null,
  cached_tokens: 1,
};

/** The frames of a stream's text, each without its blank line. */
export function framesOf(text: string): string[] {
  assert(text.endsWith("\n\n"), "the last frame is complete");
  return text.slice(0, -2).split("\n\n");
}

/** The JSON of the stream's events; comments and `[DONE]` left out. */
export function chunksOf(text: string): Json[] {
  return framesOf(text)
    .filter((frame) => frame.startsWith("data: ") && frame !== "data: [DONE]")
    .map((frame) => JSON.parse(frame.slice("data: ".length)));
}

/** Reads a body piece by piece. */
export class Reader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();

  constructor(response: Response) {
    this.#reader = response.body!.getReader();
  }

  /** The next piece; null at the end. */
  async next(): Promise<string | null> {
    const { done, value } = await this.#reader.read();
    return done ? null : this.#decoder.decode(value, { stream: true });
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** Serves an app on a free port while `use` runs. */
export async function serving(
  app: Pick<App, "fetch">,
  use: (base: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request, info) => app.fetch(request, info),
  );
  try {
    await use(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}
