// SPDX-License-Identifier: Apache-2.0
/** How a scheduler is set up, and what the owner of a job holds. */
import type { Observer } from "../observer.ts";
import type { Clock } from "./clock.ts";
import type { JobOptions } from "./job.ts";

export interface SchedulerOptions extends JobOptions {
  /** Requests that may wait (default 64). */
  maxWaiting?: number;
  /** Prompt tokens that may wait in all (default: four contexts full). */
  maxWaitingTokens?: number;
  /** Keep the KV of what ended for requests that begin with the same tokens (default: true). */
  prefixCache?: boolean;
  /** Most milliseconds of a request, waiting included; 0: no limit (default). */
  timeoutMs?: number;
  /** Milliseconds that a step should take in which some decode and others run their prompts (default 50). */
  stepMs?: number;
  clock?: Clock;
  observer?: Pick<Observer, "step">;
}

/** What the owner of a submitted job can do with it. */
export interface JobHandle {
  /** Ends it and frees what it holds; nothing more is delivered. Does nothing when it has ended. */
  cancel(): void;
  /** Its output is no longer stalled. */
  resume(): void;
}
