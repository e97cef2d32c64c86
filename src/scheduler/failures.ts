// SPDX-License-Identifier: Apache-2.0
/** The scheduler's failures, in sentences for clients. */
import { Failure } from "../errors.ts";

export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function engineFailure(error: unknown): Failure {
  if (error instanceof Failure && error.kind === "lost") {
    const sentence = `${error.message} The server has to be started again.`;
    return new Failure("lost", sentence, { cause: error });
  }
  return new Failure("engine", `The engine failed: ${sentenceOf(error)}`, { cause: error });
}

/** KV that an engine failed over is no good to others. */
export function spoilsKv(failure: Failure): boolean {
  return ["engine", "memory", "lost"].includes(failure.kind);
}

export function textFailure(error: unknown): Failure {
  const sentence = `Cannot turn tokens into text: ${sentenceOf(error)}`;
  return new Failure("engine", sentence, { cause: error });
}

export function schedulerFailure(error: unknown): Failure {
  return new Failure("engine", `The scheduler failed: ${sentenceOf(error)}`, { cause: error });
}

export function shuttingDown(): Failure {
  return new Failure("unavailable", "The server is shutting down. Please try again later.", {
    retryAfterSeconds: 10,
  });
}

export function timedOut(ms: number): Failure {
  return new Failure(
    "timeout",
    `The request was ended: it took longer than ${
      ms / 1000
    } seconds, which is all that it may take. ` +
      "Ask for less, or for more time.",
  );
}

export function queueFull(waiting: number, retryAfterSeconds: number): Failure {
  return new Failure(
    "too_many_requests",
    `The server is busy and ${waiting} requests wait already. ` +
      `Please try again in ${retryAfterSeconds} seconds.`,
    { retryAfterSeconds },
  );
}
