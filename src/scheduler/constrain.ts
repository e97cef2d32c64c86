// SPDX-License-Identifier: Apache-2.0
/** Sequences whose answers are constrained: what they may sample, and when they are complete. */
import { Failure } from "../errors.ts";
import type { Job, Sequence } from "./job.ts";
import type { Batch } from "./plan.ts";

/** Ends a job whose constraint can't be followed. */
type Fail = (job: Job, failure: Failure) => void;

function unfollowable(error: unknown): Failure {
  const why = error instanceof Error ? error.message : String(error);
  // A grammar that is too ambiguous is the client's: trying again would not help.
  const kind = error instanceof Failure ? error.kind : "engine";
  return new Failure(kind, `The answer's constraint ${why}`, { cause: error });
}

/** Looks up what each entry may sample; whose constraint can't say leaves the batch and fails alone. */
export function lookUpMasks(batch: Batch, fail: Fail): void {
  for (const entry of batch.entries) {
    const { job, matcher } = entry.sequence;
    if (matcher === null || !entry.samples || job.dropped) continue;
    try {
      entry.allowed = matcher.allowed();
    } catch (error) {
      fail(job, unfollowable(error));
    }
  }
  batch.entries = batch.entries.filter(({ sequence }) => !sequence.job.dropped);
}

/** The sequence's constraint lets nothing follow this token. */
export function completes({ job, matcher }: Sequence, token: number, fail: Fail): boolean {
  if (matcher === null) return false;
  try {
    return matcher.accept(token);
  } catch (error) {
    fail(job, unfollowable(error));
    return false;
  }
}
