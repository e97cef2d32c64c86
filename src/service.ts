// SPDX-License-Identifier: Apache-2.0
/**
 * The server's work without HTTP. It exists before its model is loaded, so that routes can say what it is
 * doing: loading, ready, draining or failed.
 */
import { type AttentionPolicy, EXACT_POLICY } from "./engine/attention.ts";
import { ConstraintCompiler } from "./constraint/compiler.ts";
import type { Engine } from "./engine/engine.ts";
import { Failure } from "./errors.ts";
import { contextTokens, prepareJob, startGeneration, TokenTexts } from "./generate.ts";
import { constraintOf } from "./generate/constraint_of.ts";
import { Verification } from "./generate/sampled_usage.ts";
import type { Observer } from "./observer.ts";
import { Sessions } from "./sessions/sessions.ts";
import type { SessionStore } from "./sessions/store.ts";
import { MOST_WAITING } from "./scheduler/options.ts";
import { Scheduler, type SchedulerOptions } from "./scheduler/scheduler.ts";
import type {
  ChatMessage,
  ChatOptions,
  TextProcessor,
  TokenizerInfo,
} from "./tokenizer/tokenizer.ts";
import type {
  Generation,
  GenerationRequest,
  ModelInfo,
  Service,
  ServiceStatus,
  SessionControl,
} from "./types.ts";

/** What a service needs to become ready. It owns engine and text from then on and closes them. */
export interface LoadedModel {
  engine: Engine;
  text: TextProcessor;
  /** The name in requests, and when it was loaded (Unix seconds; default: now). */
  model: { id: string; created?: number };
  /** How requests attend (default: exactly). The engine has its index. */
  attention?: AttentionPolicy;
  /** Contexts on disk, owned as the engine is; null (the default): none. */
  sessions?: SessionStore | null;
}

interface Loaded {
  engine: Engine;
  text: TextProcessor;
  info: ModelInfo;
  scheduler: Scheduler;
  texts: TokenTexts;
  policy: AttentionPolicy;
  constraints: ConstraintCompiler;
  sessions: Sessions | null;
}

type State = "loading" | "ready" | "draining" | "failed";

/** Guess of how long a load still takes, for Retry-After. */
const RETRY_WHILE_LOADING_SECONDS = 2;
const RETRY_WHILE_DRAINING_SECONDS = 10;
const NO_SESSIONS = "This server keeps no sessions: start it with --sessions DIR for that";
/** Time for saving contexts after the last request ended. */
const SAVE_MS = 60_000;

/** How a service works. */
export interface ServiceOptions extends SchedulerOptions {
  observer?: Observer;
}

export class ModelService implements Service {
  readonly #options: ServiceOptions;
  #state: State = "loading";
  #progress = 0;
  #reason: string | null = null;
  #loaded: Loaded | null = null;
  #closing: Promise<void> | null = null;
  readonly #verification = new Verification();
  readonly #lost = Promise.withResolvers<string>();

  constructor(options: ServiceOptions = {}) {
    this.#options = options;
  }

  /** Share of the load that is done, 0 to 1. */
  progress(share: number): void {
    if (this.#state === "loading") this.#progress = Math.min(1, Math.max(0, share));
  }

  /**
   * The model is loaded.
   * @throws {Failure} `unavailable` when the service was closed meanwhile; engine and text stay the caller's.
   */
  ready({ engine, text, model, attention = EXACT_POLICY, sessions = null }: LoadedModel): void {
    if (this.#state !== "loading") {
      throw new Failure("unavailable", `Cannot become ready: the server is ${this.#state}.`);
    }
    const scheduler = new Scheduler(engine, {
      ...this.#options,
      lost: (failure) => this.#lose(failure.message),
    });
    this.#loaded = {
      engine,
      text,
      info: {
        id: model.id,
        created: model.created ?? Math.floor(Date.now() / 1000),
        contextTokens: contextTokens(engine.limits),
        mostRequests: engine.limits.maxContexts + (this.#options.maxWaiting ?? MOST_WAITING),
        hasChatTemplate: text.hasChatTemplate,
        toolDialect: text.toolDialect,
        vocabulary: engine.limits.vocabulary,
        hidden: engine.limits.hidden,
      },
      scheduler,
      texts: new TokenTexts(text.tokenizer),
      policy: attention,
      constraints: new ConstraintCompiler(text.tokenizer, engine.limits.vocabulary),
      sessions: sessions === null
        ? null
        : new Sessions(engine, scheduler, sessions, this.#options.clock),
    };
    this.#progress = 1;
    this.#state = "ready";
  }

  /** The model cannot be loaded; `reason` is a sentence for users. */
  fail(reason: string): void {
    if (this.#state !== "loading") return;
    this.#state = "failed";
    this.#reason = reason;
  }

  /** Resolves, with a sentence for users, when the engine's GPU has failed for good: nothing works from then on. */
  get lost(): Promise<string> {
    return this.#lost.promise;
  }

  #lose(sentence: string): void {
    this.#state = "failed";
    this.#reason = sentence;
    this.#lost.resolve(sentence);
  }

  /** Takes no more requests, lets the others finish for `ms` milliseconds, then ends them. */
  async drain(ms: number): Promise<void> {
    if (this.#state !== "failed") this.#state = "draining";
    await this.#loaded?.scheduler.drain(ms);
    // What a GPU had that failed is gone.
    if (this.#state !== "failed") await this.#loaded?.sessions?.saveAll(SAVE_MS);
  }

  /** Ends everything at once and closes engine and tokenizer. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#state !== "failed") this.#state = "draining";
    const loaded = this.#loaded;
    if (loaded === null) return;
    await loaded.sessions?.close();
    await loaded.scheduler.close();
    this.#loaded = null;
    loaded.text.close();
    await loaded.engine.close();
  }

  status(): ServiceStatus {
    const loaded = this.#loaded;
    const cache = loaded?.scheduler.cache?.figures() ?? null;
    const usage = loaded?.engine.usage() ?? { kvBlocksFree: 0, contexts: 0 };
    return {
      state: this.#state,
      progress: this.#progress,
      reason: this.#reason,
      running: loaded?.scheduler.running ?? 0,
      waiting: loaded?.scheduler.waiting ?? 0,
      kvBlocks: loaded?.engine.limits.kvBlocks ?? 0,
      kvBlocksFree: usage.kvBlocksFree + (cache?.blocks ?? 0),
      contexts: usage.contexts,
      maxContexts: loaded?.engine.limits.maxContexts ?? 0,
      cache,
      sessions: loaded?.sessions?.figures() ?? null,
      verify: (loaded?.policy.verify ?? 0) > 0 ? this.#verification.totals : null,
    };
  }

  model(): ModelInfo {
    return this.#require().info;
  }

  generate(request: GenerationRequest): Generation {
    const { engine, text, scheduler, texts, policy, constraints } = this.#require();
    if (this.#state !== "ready") throw this.#unavailable();
    const { tokenizer } = text;
    const constraint = constraintOf(request, constraints, tokenizer);
    const spec = prepareJob(request, engine.limits, tokenizer.endTokens, policy, constraint);
    this.#pin(request);
    const { observer } = this.#options;
    const verified = (error: number) => {
      this.#verification.add(error);
      observer?.verified(error);
    };
    return startGeneration({ scheduler, tokenizer, texts, verified, observer }, request, spec);
  }

  #pin({ session, cacheScope, prompt }: GenerationRequest): void {
    if (session === null) return;
    const { sessions } = this.#require();
    if (sessions !== null) return sessions.pin({ scope: cacheScope, id: session }, prompt);
    throw new Failure("invalid", NO_SESSIONS, { param: "sounder.session" });
  }

  async recall(cacheScope: string, prompt: Int32Array): Promise<void> {
    const { sessions } = this.#require();
    if (this.#state === "ready") await sessions?.recall(cacheScope, prompt);
  }

  sessions(): SessionControl {
    const { sessions } = this.#require();
    if (sessions !== null) return sessions;
    throw new Failure("not_found", NO_SESSIONS);
  }

  // The methods below are async so that an unavailable service rejects, as a failing tokenizer does.

  async encodeChat(
    messages: readonly ChatMessage[],
    options?: ChatOptions,
  ): Promise<Int32Array> {
    return await this.#require().text.encodeChat(messages, options);
  }

  async encodeText(
    text: string,
    options?: { addSpecial?: boolean; parseSpecial?: boolean },
  ): Promise<Int32Array> {
    return await this.#require().text.encode(text, options);
  }

  decode(tokens: ArrayLike<number>, options?: { skipSpecial?: boolean }): string {
    const { text } = this.#require();
    for (let i = 0; i < tokens.length; i++) this.#requireToken(tokens[i]!);
    return text.tokenizer.decode(tokens, options);
  }

  tokenizerInfo(): TokenizerInfo {
    return this.#require().text.info;
  }

  tokenBytes(token: number): Uint8Array {
    const { text } = this.#require();
    this.#requireToken(token);
    return text.tokenizer.tokenBytes(token);
  }

  #requireToken(token: number): void {
    const { size } = this.#require().text.tokenizer;
    if (Number.isInteger(token) && token >= 0 && token < size) return;
    throw new Failure(
      "invalid",
      `There is no token ${token}: this model's tokens are 0 to ${size - 1}.`,
      { param: "tokens" },
    );
  }

  #require(): Loaded {
    if (this.#loaded === null) throw this.#unavailable();
    return this.#loaded;
  }

  #unavailable(): Failure {
    switch (this.#state) {
      case "failed":
        return this.#loaded === null
          ? new Failure("unavailable", `The model cannot be loaded: ${this.#reason}`)
          : new Failure("lost", this.#reason!);
      case "draining":
        return new Failure(
          "unavailable",
          "The server is shutting down. Please try again later.",
          { retryAfterSeconds: RETRY_WHILE_DRAINING_SECONDS },
        );
      default: {
        const percent = Math.floor(this.#progress * 100);
        return new Failure(
          "unavailable",
          `The model is still loading (${percent} %). Please try again in a moment.`,
          { retryAfterSeconds: RETRY_WHILE_LOADING_SECONDS },
        );
      }
    }
  }
}
