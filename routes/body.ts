// SPDX-License-Identifier: Apache-2.0
/** Reads a request's JSON within limits, whatever its content type says (`curl -d` sends none of ours). */
import { ApiError, invalid } from "./errors.ts";
import { show } from "./schemas/fields.ts";

/** Deepest nesting of a body: no honest one needs more, and deep ones break recursive readers. */
export const MAX_JSON_DEPTH = 64;
/** Most keys and brackets: parsing takes microseconds for each, and nothing else runs meanwhile. */
export const MAX_JSON_NODES = 500_000;

/** Seconds that a body may take, and bytes for which it gets a second more. */
export const BODY_SECONDS = 30;
const BYTES_PER_SECOND = 1024;

/** The JSON object in the body of a request. */
export async function readJson(
  request: Request,
  maxBytes: number,
  seconds = BODY_SECONDS,
): Promise<Record<string, unknown>> {
  const encoding = request.headers.get("content-encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    throw invalid(null, `The body has the content-encoding ${show(encoding)}: send it as it is`);
  }
  const bytes = await readBytes(request, maxBytes, seconds);
  if (bytes.length === 0) throw invalid(null, "The body is empty: send a JSON object");
  const excess = jsonExcess(bytes);
  if (excess !== null) throw invalid(null, `The body ${excess}`);
  const value = parseJson(bytes);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(null, "The body must be a JSON object");
  }
  return value as Record<string, unknown>;
}

async function readBytes(
  request: Request,
  maxBytes: number,
  seconds: number,
): Promise<Uint8Array> {
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge(maxBytes);
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let total = 0;
  try {
    for await (const chunk of timely(request.body, seconds)) {
      total += chunk.length;
      if (total > maxBytes) throw tooLarge(maxBytes);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw invalid(null, "The body ended before it was complete");
  }
  if (chunks.length === 1) return chunks[0]!;
  const bytes = new Uint8Array(total);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** The chunks of a body, as long as they come: one that trickles in must not keep its connection for ever. */
async function* timely(body: ReadableStream<Uint8Array>, seconds: number) {
  const reader = body.getReader();
  const started = performance.now();
  let bytes = 0;
  let late = false;
  try {
    for (;;) {
      const spent = performance.now() - started;
      const left = 1000 * (seconds + bytes / BYTES_PER_SECOND) - spent;
      const timer = setTimeout(() => {
        late = true;
        reader.cancel().catch(() => {});
      }, left);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (late) throw tooSlow(seconds);
      if (done) return;
      bytes += value.length;
      yield value;
    }
  } finally {
    // Lets go of what is left; does nothing when it was read to its end.
    reader.cancel().catch(() => {});
  }
}

function tooSlow(seconds: number): ApiError {
  return new ApiError(
    408,
    `The body came too slowly: it may take ${seconds} seconds, and one more for each KiB`,
    { code: "request_timeout" },
  );
}

function tooLarge(maxBytes: number): ApiError {
  return new ApiError(413, `The body is larger than this server's limit of ${maxBytes} bytes`);
}

const QUOTE = 0x22,
  BACKSLASH = 0x5c,
  BRACKET = 0x5b,
  BRACE = 0x7b,
  UNBRACKET = 0x5d,
  UNBRACE = 0x7d;
const COLON = 0x3a;

/**
 * What is too much in JSON, or null. Looks at the bytes, because parsing 32 MiB of `[` would already
 * take gigabytes.
 */
export function jsonExcess(bytes: Uint8Array): string | null {
  let depth = 0;
  let nodes = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (byte === BRACKET || byte === BRACE) {
      nodes++;
      if (++depth > MAX_JSON_DEPTH) return `nests deeper than ${MAX_JSON_DEPTH} levels`;
    } else if (byte === UNBRACKET || byte === UNBRACE) {
      depth--;
    } else if (byte === COLON) {
      nodes++;
    }
  }
  return nodes > MAX_JSON_NODES ? `has more than ${MAX_JSON_NODES} keys and arrays` : null;
}

function parseJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalid(null, "The body isn't valid UTF-8");
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(null, `The body isn't valid JSON: ${(error as Error).message.toWellFormed()}`);
  }
}
