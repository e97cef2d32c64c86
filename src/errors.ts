// SPDX-License-Identifier: Apache-2.0
/** Failures that a caller can act on. Everything else that is thrown is a bug. */

/**
 * What kind of failure, for whoever turns it into a status code:
 * - `invalid`: the request or the command line is wrong (400, exit code 2)
 * - `context_length`: prompt and answer do not fit the model's context (400)
 * - `too_many_requests`: the queue is full; try again after `retryAfterSeconds` (429)
 * - `timeout`: the request took longer than it may (408)
 * - `unavailable`: loading or shutting down; try again after `retryAfterSeconds` (503)
 * - `model`: a model file is wrong or cannot be used; the message names file and tensor
 * - `memory`: it does not fit into the memory that may be used
 * - `not_found`: there is nothing of that name (404)
 * - `conflict`: it cannot be done to what is there now (409)
 * - `storage`: a saved session cannot be written or used; the message names it and says why
 * - `engine`: the native library failed
 * - `lost`: the GPU failed for good, and only another process can use it
 */
export type FailureKind =
  | "invalid"
  | "context_length"
  | "too_many_requests"
  | "timeout"
  | "unavailable"
  | "model"
  | "memory"
  | "not_found"
  | "conflict"
  | "storage"
  | "engine"
  | "lost";

/** Options of a {@linkcode Failure}. */
export interface FailureOptions {
  /** The request field that is wrong, e.g. `messages[0].content`. */
  param?: string;
  /** Seconds after which it is worth trying again. */
  retryAfterSeconds?: number;
  /** What caused it. */
  cause?: unknown;
}

/** A failure with a sentence for the user that says what is wrong and what to do. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly kind: FailureKind;
  readonly param: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(kind: FailureKind, message: string, options: FailureOptions = {}) {
    super(message, { cause: options.cause });
    this.kind = kind;
    this.param = options.param ?? null;
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }
}
