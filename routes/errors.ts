// SPDX-License-Identifier: Apache-2.0
/** OpenAI's error body, and how everything that can be thrown becomes one. */
import { Failure, type FailureKind } from "../src/errors.ts";

/** The body of every error: clients need all four keys. */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

/** What an {@linkcode ApiError} may say besides status and message. */
export interface ApiErrorOptions {
  type?: string;
  param?: string | null;
  code?: string | null;
  headers?: Record<string, string>;
}

/** An error that is an answer: status, body and headers. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;

  constructor(status: number, message: string, options: ApiErrorOptions = {}) {
    super(message);
    this.status = status;
    this.headers = options.headers ?? {};
    const type = options.type ?? (status < 500 ? "invalid_request_error" : "server_error");
    this.body = {
      error: { message, type, param: options.param ?? null, code: options.code ?? null },
    };
  }
}

/** A request field that is wrong. */
export function invalid(
  param: string | null,
  message: string,
  code: string | null = null,
): ApiError {
  return new ApiError(400, message, { param, code });
}

interface Answer {
  status: number;
  code: string | null;
  type?: string;
  /** Retry-After where the failure does not say. */
  retrySeconds?: number;
  /** Clients of OpenAI's make try again by themselves, unless they are told not to. */
  final?: true;
}

const ANSWERS: Record<FailureKind, Answer> = {
  invalid: { status: 400, code: null },
  context_length: { status: 400, code: "context_length_exceeded" },
  too_many_requests: {
    status: 429,
    code: "rate_limit_exceeded",
    type: "requests",
    retrySeconds: 1,
  },
  timeout: { status: 408, code: "timeout", final: true },
  unavailable: { status: 503, code: "unavailable", retrySeconds: 5 },
  model: { status: 500, code: "model_error" },
  memory: { status: 500, code: "memory_error" },
  not_found: { status: 404, code: "not_found" },
  conflict: { status: 409, code: "conflict" },
  storage: { status: 507, code: "storage_error" },
  engine: { status: 500, code: "engine_error" },
  lost: { status: 503, code: "device_lost" },
};

function fromFailure(failure: Failure): ApiError {
  const { status, code, type, retrySeconds, final = false } = ANSWERS[failure.kind];
  const seconds = failure.retryAfterSeconds ?? retrySeconds;
  return new ApiError(status, failure.message, {
    param: failure.param,
    code,
    ...(type === undefined ? {} : { type }),
    // Whole seconds: clients parse nothing else, and 0 would make them retry in a tight loop.
    headers: {
      ...(seconds === undefined ? {} : { "retry-after": String(Math.max(1, Math.ceil(seconds))) }),
      ...(final ? { "x-should-retry": "false" } : {}),
    },
  });
}

/**
 * The answer to anything that was thrown. Failures of the engine and bugs are logged here, once, under
 * the request's id; a bug's own words stay in the log.
 */
export function toApiError(
  error: unknown,
  requestId: string,
  log: (line: string) => void,
): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof Failure) {
    const answer = fromFailure(error);
    if (answer.status === 500) log(`${requestId}: ${error.kind} failure: ${error.message}`);
    return answer;
  }
  log(`${requestId}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  return new ApiError(
    500,
    `The server made a mistake; its log says more under request id ${requestId}`,
  );
}
