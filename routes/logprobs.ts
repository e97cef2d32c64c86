// SPDX-License-Identifier: Apache-2.0
/** Log-probabilities in the two shapes that OpenAI has for them. */
import type { TokenInfo } from "../src/types.ts";

/** In place of minus infinity, which JSON lacks; the number is vLLM's. */
const IMPOSSIBLE = -9999;

function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : IMPOSSIBLE;
}

interface ChatLogprob {
  token: string;
  logprob: number;
  bytes: number[];
}

/** `choices[].logprobs` of a chat answer. */
export interface ChatLogprobs {
  content: (ChatLogprob & { top_logprobs: ChatLogprob[] })[];
  refusal: null;
}

/** The chat shape, with `top` alternatives a token. */
export function chatLogprobs(tokens: readonly TokenInfo[], top: number): ChatLogprobs {
  const entry = (info: { text: string; logprob: number | null; bytes: Uint8Array }) => ({
    token: info.text,
    logprob: finite(info.logprob ?? IMPOSSIBLE),
    bytes: [...info.bytes],
  });
  const content = tokens.map((info) => ({
    ...entry(info),
    top_logprobs: info.alternatives.slice(0, top).map(entry),
  }));
  return { content, refusal: null };
}

/** vLLM's entry for one token that may stand at a position. `rank` counts from 1; null: beyond those shown. */
interface PromptLogprob {
  logprob: number;
  rank: number | null;
  decoded_token: string;
}

/**
 * vLLM's `prompt_logprobs`: for each token of the prompt the `top` likeliest tokens at its place and itself, by
 * id; null for the first, which nothing predicts.
 */
export function promptLogprobs(
  tokens: readonly TokenInfo[],
  top: number,
): (Record<string, PromptLogprob> | null)[] {
  return tokens.map((info) => {
    if (info.logprob === null) return null;
    const best = info.alternatives.map((other, i) => ({ ...other, rank: i + 1 }));
    const own = best.find(({ token }) => token === info.token) ?? { ...info, rank: null };
    const shown = [own, ...best.slice(0, top)].map(({ token, logprob, rank, text }) =>
      [token, { logprob: finite(logprob ?? IMPOSSIBLE), rank, decoded_token: text }] as const
    );
    return Object.fromEntries(shown);
  });
}

/** `choices[].logprobs` of a plain completion: columns instead of rows. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

/** Adds `part`'s rows to `whole`. */
export function extendLogprobs(whole: CompletionLogprobs, part: CompletionLogprobs): void {
  for (let i = 0; i < part.tokens.length; i++) {
    whole.tokens.push(part.tokens[i]!);
    whole.token_logprobs.push(part.token_logprobs[i]!);
    whole.top_logprobs.push(part.top_logprobs[i]!);
    whole.text_offset.push(part.text_offset[i]!);
  }
}

/** Writes the completion shape of one choice, token by token, and knows where in the text each starts. */
export class CompletionLogprobWriter {
  readonly #top: number;
  /** Whole characters only: a token may end within one. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #offset = 0;

  constructor(top: number) {
    this.#top = top;
  }

  /** The echoed prompt. Tokens that its text does not show, such as BOS, take no room in it. */
  prompt(tokens: readonly TokenInfo[], text: string): CompletionLogprobs {
    let at = 0;
    return this.#columns(tokens, (piece) => {
      const shown = text.startsWith(piece, at) ? piece : piece.replace(/^ /, "");
      if (!text.startsWith(shown, at)) return "";
      at += shown.length;
      return shown;
    });
  }

  /** Generated tokens. */
  generated(tokens: readonly TokenInfo[]): CompletionLogprobs {
    return this.#columns(tokens, (piece) => piece);
  }

  #columns(tokens: readonly TokenInfo[], shown: (piece: string) => string): CompletionLogprobs {
    const columns = emptyLogprobs();
    for (const info of tokens) {
      columns.tokens.push(info.text);
      columns.token_logprobs.push(info.logprob === null ? null : finite(info.logprob));
      columns.top_logprobs.push(this.#topOf(info));
      columns.text_offset.push(this.#offset);
      this.#offset += characters(shown(this.#decoder.decode(info.bytes, { stream: true })));
    }
    return columns;
  }

  /** The best tokens and, as with OpenAI, the token itself when it is not among them. */
  #topOf(info: TokenInfo): Record<string, number> | null {
    if (info.logprob === null) return null;
    const best = new Map<string, number>();
    for (const { text, logprob } of [...info.alternatives.slice(0, this.#top), info]) {
      // Cut characters share a text: the best keeps it.
      if (!best.has(text)) best.set(text, finite(logprob ?? IMPOSSIBLE));
    }
    return Object.fromEntries(best);
  }
}

/** No rows. */
export function emptyLogprobs(): CompletionLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}

/** Code points, which is what Python clients index by. */
function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
