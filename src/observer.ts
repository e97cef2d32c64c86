// SPDX-License-Identifier: Apache-2.0
/** What happens in a server, for whoever counts it. The source of metrics; knows nothing of them. */
import type { StageMs } from "./engine/engine.ts";
import type { FinishReason, Usage } from "./types.ts";

/** Why a choice ended: also because the client left (`abort`) or the engine failed (`error`). */
export type Outcome = FinishReason | "abort" | "error";

/** What one step did. */
export interface StepFigures {
  /** With everything around the engine's own time. */
  totalMs: number;
  /** null when the step failed. */
  stageMs: StageMs | null;
  sequences: number;
  prefillTokens: number;
  decodeTokens: number;
}

/** Milliseconds of a generation; null where it did not come so far. */
export interface GenerationTiming {
  /** In the queue. */
  queueMs: number | null;
  /** From the first step to the first token, and from there to the last one. */
  prefillMs: number | null;
  decodeMs: number | null;
  totalMs: number;
}

/** Told as it happens, by the decode loop: must be quick and must not throw. */
export interface Observer {
  /** A step ended. */
  step(figures: StepFigures): void;
  /** The prompt of a generation was computed. */
  prompt(promptTokens: number, cachedTokens: number): void;
  /** The first token of a generation, so long after it was submitted. */
  firstToken(ms: number): void;
  /** A token of a choice; `ms` since the choice's last one, null for its first. */
  token(ms: number | null): void;
  /** A choice ended. */
  choiceEnded(outcome: Outcome): void;
  /** A generation's KV was given up for others; it will be computed again. */
  preempted(): void;
  /** A generation ended. */
  ended(usage: Readonly<Usage>, timing: GenerationTiming): void;
  /** A sampled token was computed exactly too: the relative difference. */
  verified(error: number): void;
}
