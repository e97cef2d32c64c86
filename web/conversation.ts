// SPDX-License-Identifier: Apache-2.0
/** What was asked and answered so far. Side by side, each way of attending has its own history. */
import type { Message } from "./api.ts";

/** A text to ask about. */
export interface SourceText {
  name: string;
  text: string;
  /** null until the server has counted. */
  tokens: number | null;
}

/** A way of attending. */
export type Lane = "auto" | "full" | "sketch";

export interface Turn {
  question: string;
  sources: SourceText[];
  answers: Partial<Record<Lane, string>>;
}

/** The lanes that a choice on the page asks. */
export function lanesOf(choice: string): Lane[] {
  return choice === "both" ? ["full", "sketch"] : [choice as Lane];
}

/**
 * The conversation as one lane sees it; the last turn has no answer yet. Documents come first, so that
 * every further question begins with the same tokens.
 */
export function messagesOf(turns: readonly Turn[], lane: Lane): Message[] {
  return turns.flatMap(({ question, sources, answers }): Message[] => {
    const content = [...sources.map((source) => source.text.trim()), question].join("\n");
    const answer = answers[lane] ?? Object.values(answers)[0];
    const asked: Message = { role: "user", content };
    return answer === undefined ? [asked] : [asked, { role: "assistant", content: answer }];
  });
}
