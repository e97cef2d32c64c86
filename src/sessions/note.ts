// SPDX-License-Identifier: Apache-2.0
/** What a saved context's note says, beside what the file's own header does. */
import { z } from "zod";
import { EXACT } from "../engine/provenance.ts";
import type { IndexSettings } from "../engine/settings.ts";

const Note = z.object({
  provenance: z.string(),
  /** {@linkcode samplingText} of the engine that made it: only under the same is sampled KV the same. */
  sampling: z.string(),
  /** Milliseconds since 1970. */
  savedAt: z.number(),
});
export type SessionNote = z.infer<typeof Note>;

export function noteText(note: SessionNote): string {
  return JSON.stringify(note);
}

/** A file that was saved by something else has exact KV at least. */
export function readNote(text: string): SessionNote {
  try {
    return Note.parse(JSON.parse(text));
  } catch {
    return { provenance: EXACT, sampling: "", savedAt: 0 };
  }
}

/** What sampled attention depends on beside a request's own parameters. */
export function samplingText(index: IndexSettings): string {
  const { sink, window, leastRows, denseLayers, lsh, lshCentring, seed } = index;
  return JSON.stringify({ sink, window, leastRows, denseLayers, lsh, lshCentring, seed });
}
