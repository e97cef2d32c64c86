// SPDX-License-Identifier: Apache-2.0
/** A long text with a few facts in it, for whoever has none at hand. */
import type { SourceText } from "./conversation.ts";

const FILLER = [
  "Boats go out. Boats come in. The tide is low. The gulls sleep on the wall.",
  "The hills are quiet. The river is slow. The lamp is lit. We wait and then we walk on.",
  "The wind turns. The leaves fall. The clock ticks. Morning comes and the day goes by.",
];

const FACTS = [
  ["copper lantern", "5273107"],
  ["harbour gate", "8164420"],
  ["painted canoe", "2091768"],
  ["iron bell", "7730915"],
  ["ivory compass", "4418236"],
] as const;

/** Pieces of filler: about 10,500 tokens of the embedded model, enough for sampling. */
const PIECES = 380;

/** The document and a question about it. */
export function sampleDocument(): { source: SourceText; question: string } {
  const lines = Array.from({ length: PIECES }, (_, i) => FILLER[Math.floor(i / 40) % 3]!);
  FACTS.forEach(([thing, code], i) => {
    const at = Math.floor((i + 0.6) * PIECES / FACTS.length);
    lines[at] += ` The secret code for the ${thing} is: ${code}.`;
  });
  const text = `Read the text and answer the question.\n${lines.join(" ")}`;
  return {
    source: { name: "Harbour log", text, tokens: null },
    question: "What is the secret code for the painted canoe?",
  };
}
