// SPDX-License-Identifier: Apache-2.0
/** The pieces of one answer: its text, and calls of tools where the request has tools. */
import type { AnswerPart, CallParser } from "../src/tools/call_parser.ts";
import type { CallRequest } from "../src/tools/compile_calls.ts";
import { callParser } from "./chat_choices.ts";

export class AnswerParts {
  readonly #parser: CallParser | null;

  constructor(calls: CallRequest | null) {
    this.#parser = calls === null ? null : callParser(calls);
  }

  /** Calls so far. */
  get calls(): number {
    return this.#parser?.calls ?? 0;
  }

  push(text: string): AnswerPart[] {
    if (this.#parser !== null) return this.#parser.push(text);
    return text === "" ? [] : [{ type: "text", text }];
  }

  /** What was held back. */
  finish(): AnswerPart[] {
    return this.#parser?.finish() ?? [];
  }
}
