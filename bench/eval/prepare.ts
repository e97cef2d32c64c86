// SPDX-License-Identifier: Apache-2.0
/** Documents as tokens, and the engine that has room for them. */
import { BLOCK_TOKENS } from "../../src/engine/engine.ts";
import type { EngineSettings } from "../../src/engine/settings.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import type { EvaluationDocument } from "./documents.ts";
import type { EngineGroup } from "./strategies.ts";

/** A document and its questions as prompts. */
export interface PreparedDocument extends EvaluationDocument {
  /** One for each question. */
  prompts: Int32Array[];
  /** Tokens that all of them begin with: the document. */
  shared: number;
  /** Most tokens of the reply to each question. */
  most: number[];
}

/** Tokens that a wrong reply may be longer than the answer. */
const SLACK_TOKENS = 48;
const MOST_STEP_TOKENS = 2048, MOST_STEP_SEQUENCES = 64;

/** Tokens that all prompts begin with; at least one token of each is left. */
export function commonLength(prompts: readonly ArrayLike<number>[]): number {
  let length = Math.min(...prompts.map((prompt) => prompt.length - 1));
  const first = prompts[0]!;
  for (const other of prompts) {
    for (let i = 0; i < length; ++i) if (first[i] !== other[i]) length = i;
  }
  return length;
}

export async function prepare(
  text: TextProcessor,
  document: EvaluationDocument,
): Promise<PreparedDocument> {
  const chat = (content: string) => text.encodeChat([{ role: "user", content }]);
  const prompts = await Promise.all(
    document.questions.map(({ question }) => chat(document.document + question)),
  );
  // With the prompt of no question, the common part ends with the document even if all questions begin alike.
  const shared = commonLength([...prompts, await chat(document.document)]);
  const most = document.questions.map(({ answer }) =>
    text.tokenizer.encode(answer).length + SLACK_TOKENS
  );
  return { ...document, prompts, shared, most };
}

/** Blocks that a fork of a context at `from` holds for itself when it has `length` tokens. */
function ownBlocks(from: number, length: number): number {
  return Math.ceil(length / BLOCK_TOKENS) - Math.floor(from / BLOCK_TOKENS);
}

/** Settings that hold the longest document with all its forks. */
export function settingsFor(
  documents: readonly PreparedDocument[],
  { index, strategies }: EngineGroup,
  setups: number,
): Pick<
  EngineSettings,
  "kvBlocks" | "context" | "maxContexts" | "maxStepTokens" | "maxStepSequences" | "index"
> {
  const sizes = documents.map(({ prompts, shared, most }) => {
    const ends = prompts.map((prompt, i) => prompt.length + most[i]!);
    const forks = prompts.length * (1 + setups * strategies.length);
    const own = Math.max(...ends.map((end) => ownBlocks(shared, end)));
    return {
      length: Math.max(...ends),
      forks,
      blocks: Math.ceil(shared / BLOCK_TOKENS) + forks * own,
    };
  });
  const forks = Math.max(...sizes.map((size) => size.forks));
  const context = Math.max(...sizes.map(({ length }) => length));
  return {
    kvBlocks: Math.max(...sizes.map(({ blocks }) => blocks)) + 1,
    context,
    maxContexts: forks + 1,
    maxStepTokens: MOST_STEP_TOKENS,
    maxStepSequences: Math.min(forks, MOST_STEP_SEQUENCES),
    index: {
      ...index,
      lshTokens: index.lsh === null ? 0 : 2 * BLOCK_TOKENS * Math.ceil(context / BLOCK_TOKENS),
    },
  };
}
