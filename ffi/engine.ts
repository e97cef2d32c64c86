// SPDX-License-Identifier: Apache-2.0
/** The engine that computes: libsounder behind the {@linkcode Engine} interface. */
import type {
  ContextId,
  Engine,
  EngineLimits,
  EngineUsage,
  SavedContext,
  SavedPlace,
  StepResult,
  StepSequence,
} from "../src/engine/engine.ts";
import { DEFAULT_SETTINGS, type EngineSettings } from "../src/engine/settings.ts";
import { Failure, type FailureKind } from "../src/errors.ts";
import type { ModelSource } from "../src/model/model.ts";
import { AttendCall, type AttendRequest, type AttendResult, type AttendShape } from "./attend.ts";
import { describeModel, limitsOf } from "./configure.ts";
import { type CaptureName, readCapture } from "./capture.ts";
import { SavedCalls } from "./saved.ts";
import { addHidden } from "./hidden.ts";
import { type Library, openLibrary, requireReadable } from "./library.ts";
import { StepBuffers } from "./step_buffers.ts";
import * as abi from "./symbols.ts";

/** Settings of {@linkcode NativeEngine.open}, all optional, and what to call while it loads. */
export interface OpenOptions extends Partial<EngineSettings> {
  /** Share of the load that is done, 0 to 1; called a few times a second. */
  onProgress?: (share: number) => void;
  /** Ends the load early. */
  signal?: AbortSignal;
}

export class NativeEngine implements Engine {
  readonly limits: EngineLimits;
  readonly #library: Library;
  readonly #shape: AttendShape;
  #handle: Deno.PointerValue;
  readonly #buffers: StepBuffers;
  readonly #saved: SavedCalls;
  #running: Promise<unknown> = Promise.resolve();
  #stepping = false;

  private constructor(
    library: Library,
    handle: Deno.PointerObject,
    limits: EngineLimits,
    shape: AttendShape,
  ) {
    this.#library = library;
    this.#shape = shape;
    this.#handle = handle;
    this.limits = limits;
    this.#buffers = new StepBuffers(limits);
    this.#saved = new SavedCalls(library, limits.context, this.#check.bind(this));
  }

  /**
   * Opens the library, hands it the model and loads the weights.
   * @throws {Failure} `engine` when there is no usable library, `model` when a file is not what it
   * says, `memory` when it does not fit.
   */
  static async open(source: ModelSource, options: OpenOptions = {}): Promise<NativeEngine> {
    const settings = { ...DEFAULT_SETTINGS, ...options };
    await requireReadable(source.files);
    const library = openLibrary();
    const handle = library.symbols.sounder_create();
    if (handle === null) throw new Failure("memory", "The system refused memory for an engine.");
    const limits = limitsOf(source.config, settings);
    const engine = new NativeEngine(library, handle, limits, source.config);
    try {
      describeModel(library, handle, source, settings, (status) => engine.#check(status, "model"));
      await engine.#load(options);
    } catch (error) {
      await engine.close();
      throw error;
    }
    return engine;
  }

  async #load({ onProgress, signal }: OpenOptions): Promise<void> {
    const { symbols } = this.#library;
    const stop = () => void symbols.sounder_stop(this.#handle);
    signal?.addEventListener("abort", stop);
    const timer = onProgress === undefined
      ? undefined
      : setInterval(() => onProgress(symbols.sounder_load_progress(this.#handle) / 1000), 100);
    try {
      const load = symbols.sounder_load(this.#handle);
      this.#running = load;
      this.#check(await load, "model");
    } finally {
      clearInterval(timer);
      signal?.removeEventListener("abort", stop);
    }
  }

  usage(): EngineUsage {
    const figures = this.#figures();
    return {
      kvBlocksFree: figures[abi.INFO_KV_BLOCKS_FREE]!,
      contexts: figures[abi.INFO_CONTEXTS]!,
    };
  }

  /** Figures and a line about what computes, for the start message. */
  info(): { threads: number; weightBytes: number; workspaceBytes: number; text: string } {
    const figures = this.#figures();
    return {
      threads: figures[abi.INFO_THREADS]!,
      weightBytes: figures[abi.INFO_WEIGHT_BYTES]!,
      workspaceBytes: figures[abi.INFO_WORKSPACE_BYTES]!,
      text: this.#text(this.#library.symbols.sounder_info_text),
    };
  }

  createContext(): ContextId {
    return this.#check(this.#library.symbols.sounder_context_create(this.#handle));
  }

  forkContext(context: ContextId, tokens: number): ContextId {
    return this.#check(this.#library.symbols.sounder_context_fork(this.#handle, context, tokens));
  }

  truncateContext(context: ContextId, tokens: number): void {
    this.#check(this.#library.symbols.sounder_context_truncate(this.#handle, context, tokens));
  }

  freeContext(context: ContextId): void {
    this.#check(this.#library.symbols.sounder_context_free(this.#handle, context));
  }

  contextLength(context: ContextId): number {
    return this.#check(this.#library.symbols.sounder_context_length(this.#handle, context));
  }

  contextExact(context: ContextId): number {
    return this.#check(this.#library.symbols.sounder_context_exact(this.#handle, context));
  }

  saveContext(...[context, tokens, place, note]: Parameters<Engine["saveContext"]>): Promise<void> {
    return this.#saved.save(this.#handle, context, tokens, place, note);
  }

  restoreContext(place: SavedPlace, tokens = this.limits.context): Promise<ContextId> {
    return this.#saved.restore(this.#handle, place, tokens);
  }

  cancelTransfer(): void {
    this.#library.symbols.sounder_transfer_cancel(this.#handle);
  }

  describeSaved(place: SavedPlace): Promise<SavedContext> {
    return this.#saved.describe(this.#handle, place);
  }

  async step(sequences: readonly StepSequence[]): Promise<StepResult> {
    this.#requireFits(sequences);
    return await this.#alone(() => this.#step(sequences));
  }

  /** What a strategy makes of given queries over a context's KV at one layer. */
  async attend(request: AttendRequest): Promise<AttendResult> {
    const call = new AttendCall(request, this.#shape, this.contextLength(request.context));
    return await this.#alone(async () => {
      const running = call.start(this.#library.symbols, this.#handle);
      this.#running = running;
      this.#check(await running);
      return call.result();
    });
  }

  /** Appends tokens whose KV is seeded noise: for benches at lengths whose prefill nobody would wait for. */
  async fillContext(context: ContextId, tokens: number, seed: number): Promise<void> {
    await this.#alone(async () => {
      const { sounder_context_fill } = this.#library.symbols;
      const running = sounder_context_fill(this.#handle, context, tokens, seed);
      this.#running = running;
      this.#check(await running);
    });
  }

  async #alone<T>(run: () => Promise<T>): Promise<T> {
    if (this.#stepping) throw new Failure("engine", "A step is running; one runs at a time.");
    this.#stepping = true;
    try {
      return await run();
    } finally {
      this.#stepping = false;
    }
  }

  async #step(sequences: readonly StepSequence[]): Promise<StepResult> {
    const b = this.#buffers;
    b.write(sequences);
    const step = this.#library.symbols.sounder_step(
      this.#handle,
      sequences.length,
      b.contexts,
      b.tokenCounts,
      b.tokens,
      b.ints,
      b.floats,
      b.biasTokens,
      b.biasValues,
      b.biasCount,
      b.allowed,
      b.allowedRows,
      b.statuses,
      b.sampled,
      b.sampledLogprobs,
      b.top.tokens,
      b.top.logprobs,
      b.givenLogprobs,
      b.given?.tokens ?? null,
      b.given?.logprobs ?? null,
      b.statistics,
      b.stageMs,
    );
    this.#running = step;
    this.#check(await step);
    const results = b.read(sequences);
    const { sounder_step_hidden: copy } = this.#library.symbols;
    addHidden(sequences, results, this.limits.hidden, (row, values) => {
      this.#check(copy(this.#handle, row, values, values.length));
    });
    return { sequences: results, stageMs: b.readStages() };
  }

  cancel(context: ContextId): void {
    this.#library.symbols.sounder_cancel(this.#handle, context);
  }

  progress(context: ContextId): number {
    return this.#library.symbols.sounder_progress(this.#handle, context) / 1000;
  }

  /** Keep the inner values of each following step. */
  capture(enabled: boolean): void {
    this.#check(this.#library.symbols.sounder_capture_enable(this.#handle, enabled ? 1 : 0));
  }

  /** Inner values of the last step, rows in the order of its tokens. */
  readCapture(name: CaptureName, layer = 0): Float32Array {
    return readCapture(
      this.#library,
      this.#handle,
      name,
      layer,
      (status) => this.#check(status),
    );
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    if (handle === null) return;
    this.#library.symbols.sounder_stop(handle);
    await this.#running.catch(() => {});
    await this.#saved.end(handle);
    this.#handle = null;
    this.#library.symbols.sounder_close(handle);
    this.#library.close();
  }

  #requireFits(sequences: readonly StepSequence[]): void {
    const tokens = sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
    const { maxStepSequences, maxStepTokens } = this.limits;
    if (sequences.length > maxStepSequences || tokens > maxStepTokens) {
      throw new Failure(
        "engine",
        `A step of ${sequences.length} contexts and ${tokens} tokens is over the limits ` +
          `of ${maxStepSequences} and ${maxStepTokens}.`,
      );
    }
  }

  /** Passes values ≥ 0 through; a negative status becomes a Failure with the engine's own sentence. */
  #check(status: number, kind: FailureKind = "engine"): number {
    if (status >= 0) return status;
    const text = this.#text(this.#library.symbols.sounder_error_text);
    if (status === abi.LOST) throw new Failure("lost", text);
    throw new Failure(status === abi.OUT_OF_MEMORY ? "memory" : kind, text);
  }

  #figures(): number[] {
    const figures = new BigInt64Array(abi.INFO_COUNT);
    this.#check(
      this.#library.symbols.sounder_info_figures(this.#handle, figures, figures.length),
    );
    return Array.from(figures, Number);
  }

  #text(
    read: (handle: Deno.PointerValue, text: Uint8Array<ArrayBuffer>, capacity: number) => number,
  ): string {
    const bytes = new Uint8Array(4096);
    const length = Math.min(read(this.#handle, bytes, bytes.length), bytes.length);
    return new TextDecoder().decode(bytes.subarray(0, Math.max(0, length)));
  }
}
