// SPDX-License-Identifier: Apache-2.0
/**
 * Answers without `stream`. Deno doesn't say that a client left before its answer has begun, so one that
 * takes long begins early: with white space, which may stand before JSON. From then on its status is 200, and
 * an error is the body.
 */
import type { Context, Deps } from "./context.ts";
import { type ApiError, toApiError } from "./errors.ts";
import { eventStream } from "./sse.ts";

/** White space in JSON. */
const BLANK = "\n";

/** What is answered, and what an answer needs that begins early. */
export interface Whole {
  /** null when the client went away. */
  answer: Promise<unknown>;
  /** Ends the work; called when the client has left. */
  cancel: () => void;
  /** The body of an error (default: OpenAI's). */
  failed?: (error: ApiError) => unknown;
}

/** The answer as JSON; without comments in streams (`--ping 0`) it begins when it is there, and not before. */
export async function wholeAnswer(
  c: Context,
  { options }: Deps,
  { answer, cancel, failed = (error) => error.body }: Whole,
): Promise<Response> {
  const { pingSeconds, earlyMs, log } = options;
  if (pingSeconds === 0 || await within(answer, earlyMs)) {
    const value = await answer;
    return value === null ? clientLeft() : c.json(value);
  }
  const pieces = async function* (): AsyncGenerator<string> {
    yield BLANK;
    const value = await answer.catch((error) => failed(toApiError(error, c.get("requestId"), log)));
    if (value !== null) yield JSON.stringify(value);
  };
  const body = eventStream(pieces(), { pingMs: 1000 * pingSeconds, ping: BLANK, cancel });
  return c.body(body, 200, { "content-type": "application/json", "cache-control": "no-cache" });
}

/** Whether it comes, or fails, in so many milliseconds. */
async function within(answer: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => timer = setTimeout(resolve, ms, false));
  const came = answer.then(() => true, () => true);
  return await Promise.race([came, late]).finally(() => clearTimeout(timer));
}

/** The status that nginx made up for a client that left; nobody reads it. */
export function clientLeft(): Response {
  return new Response(null, { status: 499 });
}
