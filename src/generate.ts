// SPDX-License-Identifier: Apache-2.0
/** One request on its way from tokens to events: the scheduler's output and the client's iterable. */
import type { SequenceResult } from "./engine/engine.ts";
import type { Failure } from "./errors.ts";
import { ChoiceText, type Released } from "./generate/choice_text.ts";
import { EventBuffer } from "./generate/event_buffer.ts";
import { Meter } from "./generate/meter.ts";
import { PromptEmbedding } from "./generate/prompt_embedding.ts";
import { addSampled, NO_SAMPLED, sampledToken } from "./generate/sampled_usage.ts";
import { stopPatterns } from "./generate/stop_matcher.ts";
import { TokenTexts } from "./generate/token_texts.ts";
import type { Observer } from "./observer.ts";
import type { GivenLogprobs, JobOutput, JobSpec, TokenEnd } from "./scheduler/job.ts";
import type { JobHandle, Scheduler } from "./scheduler/scheduler.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { DIALECTS, marksOf } from "./tools/dialect.ts";
import type { Generation, GenerationEvent, GenerationRequest, TokenInfo, Usage } from "./types.ts";

/** Tokens that may wait for a slow reader before its request is no longer decoded. */
export const MOST_UNDELIVERED_TOKENS = 256;

/** Special tokens that calls are found by. */
function shownTokens({ calls }: GenerationRequest, tokenizer: Tokenizer): Set<number> {
  if (!calls) return new Set();
  const names = marksOf(DIALECTS[calls.dialect]);
  return new Set(names.flatMap((name) => [...tokenizer.encode(name, { parseSpecial: true })]));
}

export { contextTokens, prepareJob } from "./generate/prepare.ts";
export { TokenTexts };

/** What the generations of one model share. */
export interface GenerationContext {
  scheduler: Scheduler;
  tokenizer: Tokenizer;
  texts: TokenTexts;
  /** Tokens that may wait for a slow reader (default {@linkcode MOST_UNDELIVERED_TOKENS}). */
  undeliveredTokens?: number;
  /** A token was verified. */
  verified?: (error: number) => void;
  observer?: Observer | undefined;
}

/**
 * Submits a request.
 * @throws {Failure} what {@linkcode Scheduler.submit} throws.
 */
export function startGeneration(
  context: GenerationContext,
  request: GenerationRequest,
  spec: JobSpec,
): Generation {
  const stream = new GenerationStream(context, request, spec);
  stream.handle = context.scheduler.submit(spec, stream);
  return stream;
}

class GenerationStream implements Generation, JobOutput {
  handle: JobHandle | null = null;
  readonly #texts: TokenTexts;
  readonly #request: GenerationRequest;
  readonly #spec: JobSpec;
  readonly #choices: ChoiceText[];
  /** Tokens of each choice. */
  readonly #counts: number[];
  readonly #buffer: EventBuffer;
  /** The scored prompt as far as it is known; null: not asked for, or sent. */
  #prompt: TokenInfo[] | null;
  /** null: not asked for. */
  readonly #embedding: PromptEmbedding | null;
  #unfinished: number;
  readonly usage: Usage;
  readonly #verified: (error: number) => void;
  readonly #meter: Meter;
  #startedAt = 0;

  constructor(context: GenerationContext, request: GenerationRequest, spec: JobSpec) {
    const { tokenizer, texts } = context;
    this.#texts = texts;
    this.#request = request;
    this.#spec = spec;
    this.#embedding = spec.embed ? new PromptEmbedding(spec.prompt.length) : null;
    const patterns = stopPatterns(request.stop);
    const decoding = {
      skipSpecial: request.skipSpecialTokens,
      continues: request.continuesPrompt,
      shown: shownTokens(request, tokenizer),
    };
    this.#choices = Array.from(
      { length: spec.n },
      () => new ChoiceText(tokenizer.streamDecoder(decoding), patterns),
    );
    this.#counts = new Array(spec.n).fill(0);
    this.#unfinished = spec.n;
    this.#prompt = request.scorePrompt !== null ? [texts.info(spec.prompt[0]!, null, [])] : null;
    this.#buffer = new EventBuffer(context.undeliveredTokens ?? MOST_UNDELIVERED_TOKENS, {
      drained: () => this.handle?.resume(),
      left: () => this.cancel(),
    });
    this.usage = {
      promptTokens: spec.prompt.length,
      completionTokens: 0,
      cachedTokens: 0,
      attention: spec.attention?.params.strategy ?? "full",
      keysRead: 0,
      keysTotal: 0,
      sampled: NO_SAMPLED,
    };
    this.#verified = context.verified ?? (() => {});
    this.#meter = new Meter(context.observer, this.usage, spec.n);
  }

  get firstTokenMs(): number | null {
    return this.#meter.firstTokenMs;
  }

  get stalled(): boolean {
    return this.#buffer.full;
  }

  [Symbol.asyncIterator](): AsyncIterator<GenerationEvent, undefined> {
    return this.#buffer;
  }

  cancel(): void {
    this.#meter.stop("abort");
    this.#buffer.discard();
    this.handle?.cancel();
  }

  started(cachedTokens: number): void {
    this.usage.cachedTokens = cachedTokens;
    this.#meter.started();
    this.#startedAt = performance.now();
    if (this.#spec.progress) this.progress(cachedTokens);
  }

  progress(processed: number): void {
    const { promptTokens: total, cachedTokens: cached } = this.usage;
    const ms = performance.now() - this.#startedAt;
    this.#buffer.push({ type: "progress", processed, cached, total, ms }, 0);
  }

  scored(given: GivenLogprobs): void {
    const tokens = this.#prompt!;
    for (const { logprob, alternatives } of given) {
      const token = this.#spec.prompt[tokens.length]!;
      tokens.push(this.#texts.info(token, logprob, alternatives));
    }
    if (tokens.length === this.#spec.prompt.length) this.#sendPrompt();
  }

  hidden(start: number, sum: Float32Array): void {
    this.#embedding?.add(start, sum);
  }

  #sendPrompt(): void {
    if (this.#prompt === null) return;
    this.#buffer.push({ type: "prompt", tokens: this.#prompt }, 0);
    this.#prompt = null;
  }

  token(choice: number, result: SequenceResult, end: TokenEnd | null): boolean {
    this.#sendPrompt();
    const text = this.#choices[choice]!;
    const count = ++this.#counts[choice]!;
    this.#count(result);
    this.#meter.token(choice);
    const mayStop = count >= this.#request.minTokens;
    if (end !== "end_token") {
      const { token, logprob, alternatives } = result;
      const info = this.#request.logprobs === null
        ? null
        : this.#texts.info(token, logprob, alternatives);
      this.#send(choice, text.push(token, info, mayStop));
    }
    if (end === null && text.stopString === null) return false;
    this.#send(choice, text.finish(mayStop));
    const stopped = end !== "length" || text.stopString !== null;
    this.#finish(choice, stopped ? "stop" : "length", text.stopString);
    return true;
  }

  #count({ keysRead, keysTotal, sampled }: SequenceResult): void {
    const { usage } = this;
    usage.completionTokens++;
    usage.keysRead += keysRead;
    usage.keysTotal += keysTotal;
    if (sampled === null) return;
    usage.sampled = addSampled(usage.sampled, sampledToken(sampled));
    if (sampled.verifyError !== null) this.#verified(sampled.verifyError);
  }

  end(choice: number): void {
    this.#sendPrompt();
    this.#finish(choice, "length", null);
  }

  preempted(): void {
    this.#meter.preempted();
  }

  fail(failure: Failure): void {
    this.#meter.stop("error");
    this.#buffer.end(failure);
  }

  #send(choice: number, released: Released | null): void {
    if (released === null) return;
    const { text, tokens, count } = released;
    this.#buffer.push({ type: "text", choice, text, tokens }, count);
  }

  #finish(choice: number, reason: "stop" | "length", stopString: string | null): void {
    this.#meter.finish(choice, reason);
    this.#buffer.push({ type: "finish", choice, reason, stopString }, 0);
    if (--this.#unfinished > 0) return;
    const embedding = this.#embedding?.mean();
    this.#buffer.push({ type: "done", usage: this.usage, ...(embedding && { embedding }) }, 0);
    this.#buffer.end(null);
  }
}
