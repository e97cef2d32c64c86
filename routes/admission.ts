// SPDX-License-Identifier: Apache-2.0
/** Admission: before any header goes out, so that a refusal is a real status. */
import { PRIORITIES, type Priority } from "../src/scheduler/priority.ts";
import { Failure } from "../src/errors.ts";
import type { GenerationRequest, ModelInfo, Service } from "../src/types.ts";
import type { Admitted, Head } from "./answer.ts";
import type { Context } from "./context.ts";
import { invalid } from "./errors.ts";
import { Job } from "./job.ts";
import type { Delivery } from "./schemas/generation.ts";

/** The head of an answer that starts now. */
export function newHead(prefix: string, object: string, model: ModelInfo): Head {
  return {
    id: `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model: model.id,
  };
}

/** Alternatives to ask for; ids and running counts need the tokens even when nobody wants logprobs. */
export function tokensWanted(body: Delivery & { logprobs: number | null }): number | null {
  return body.logprobs ?? (body.returnTokenIds || body.continuousUsage ? 0 : null);
}

/** What admission adds to a request. */
export type Admission = "id" | "prompt" | "cacheScope" | "priority" | "timeoutSeconds";

/** Hands all prompts to the service, or none: throws what it refused the first with. */
export async function admit(
  c: Context,
  service: Service,
  head: Head,
  delivery: Delivery,
  prompts: readonly Int32Array[],
  request: Omit<GenerationRequest, Admission>,
): Promise<Admitted> {
  const job = await submit(c, service, { ...head, stream: delivery.stream }, prompts, request);
  return { job, n: request.n, prompts, head, delivery };
}

/** A request that is to be admitted. */
export interface Asked {
  id: string;
  model: string;
  stream: boolean;
  /** The field that holds the prompt, where it's neither `prompt` nor `messages`. */
  field?: string;
}

/** The job of a request, once what sessions have of its prompts is in memory. */
export async function submit(
  c: Context,
  service: Service,
  asked: Asked,
  prompts: readonly Int32Array[],
  request: Omit<GenerationRequest, Admission>,
): Promise<Job> {
  const record = c.get("record");
  record.asks(asked.model, asked.stream);
  const cacheScope = c.get("cacheScope");
  const asks = { cacheScope, priority: priorityOf(c), timeoutSeconds: timeoutOf(c) };
  if (request.session !== null && prompts.length > 1) {
    throw invalid("sounder.session", "A session is one conversation: send one prompt with it");
  }
  checkCount(prompts.length, service.model(), asked.field);
  const requests = prompts.map((prompt, i): GenerationRequest => {
    if (prompt.length === 0) {
      throw invalid("prompt", "The prompt has no tokens: nothing to go on from");
    }
    const id = prompts.length === 1 ? asked.id : `${asked.id}-${i}`;
    return { id, prompt, ...asks, ...request };
  });
  // A prompt that is scored or embedded is run whole.
  if (request.scorePrompt === null && request.embed !== true) {
    await Promise.all(prompts.map((prompt) => service.recall(cacheScope, prompt)));
  }
  try {
    return new Job(service, requests, c.req.raw.signal, record);
  } catch (error) {
    throw tooLongIn(asked.field, error);
  }
}

/** More at once than can run and wait would be a 429 however often they came. */
function checkCount(count: number, { mostRequests }: ModelInfo, field = "prompt"): void {
  if (count <= mostRequests) return;
  const sentence =
    `${count} prompts are more than this server takes in one request: ${mostRequests}`;
  throw invalid(field, `${sentence}. Send them in several.`);
}

/** The error, naming the field that holds the prompt when that is too long. */
function tooLongIn(field: string | undefined, error: unknown): unknown {
  if (field === undefined || !(error instanceof Failure) || error.kind !== "context_length") {
    return error;
  }
  return new Failure("context_length", error.message, { param: field, cause: error });
}

/** The header `x-sounder-priority`. */
function priorityOf(c: Context): Priority {
  const asked = c.req.header("x-sounder-priority") ?? "normal";
  const priority = PRIORITIES.find((each) => each === asked);
  if (priority !== undefined) return priority;
  throw invalid("x-sounder-priority", `x-sounder-priority must be ${PRIORITIES.join(", ")}`);
}

/** Eleven days: longer timers would end at once. */
const MOST_TIMEOUT_SECONDS = 1_000_000;

/** The header `x-sounder-timeout`, in seconds. */
function timeoutOf(c: Context): number | null {
  const asked = c.req.header("x-sounder-timeout");
  if (asked === undefined) return null;
  const seconds = /^[\d.eE+-]+$/.test(asked) ? Number(asked) : 0;
  if (seconds >= 1 && seconds <= MOST_TIMEOUT_SECONDS) return seconds;
  throw invalid(
    "x-sounder-timeout",
    `x-sounder-timeout must be a number of seconds from 1 to ${MOST_TIMEOUT_SECONDS}`,
  );
}

/** An id that nobody else has. */
export function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`;
}
