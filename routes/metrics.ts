// SPDX-License-Identifier: Apache-2.0
/**
 * Prometheus metrics. Those that mean what vLLM's mean have vLLM's names, so that its dashboards, routers
 * and autoscalers work; the others start with `sounder_`.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { leavesToChance } from "../src/engine/attention.ts";
import type { GenerationTiming, Observer, Outcome, StepFigures } from "../src/observer.ts";
import type { Service, Usage } from "../src/types.ts";
import type { Deps, Handler } from "./context.ts";
import {
  BETWEEN_TOKENS,
  ERROR,
  FIRST_TOKEN,
  REQUEST,
  SAMPLES,
  STEP,
  STEP_TOKENS,
  TOKENS,
} from "./metric_buckets.ts";
import { SessionMetrics } from "./session_metrics.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]);

/** Counts what happens. */
export class Metrics implements Observer {
  readonly #registry = new Registry();

  readonly #running = this.#gauge("vllm:num_requests_running", "Requests that are computed.");
  readonly #waiting = this.#gauge("vllm:num_requests_waiting", "Requests in the queue.");
  readonly #kvUsage = this.#gauge(
    "vllm:kv_cache_usage_perc",
    "Share of the KV blocks that running requests hold, 0 to 1.",
  );
  readonly #blocks = this.#gauge("sounder_kv_blocks", "KV blocks of 128 tokens.", ["state"]);
  readonly #contexts = this.#gauge("sounder_contexts", "Contexts of the engine.", ["state"]);
  readonly #sessions = new SessionMetrics(this.#registry);
  readonly #memory = this.#gauge("process_resident_memory_bytes", "Memory of the process.");

  readonly #promptTokens = this.#counter("vllm:prompt_tokens_total", "Prompt tokens.");
  readonly #tokens = this.#counter("vllm:generation_tokens_total", "Generated tokens.");
  readonly #cacheQueries = this.#counter(
    "vllm:prefix_cache_queries_total",
    "Prompt tokens that were looked up in the prefix cache.",
  );
  readonly #cacheHits = this.#counter(
    "vllm:prefix_cache_hits_total",
    "Prompt tokens whose KV was there already.",
  );
  readonly #success = this.#counter(
    "vllm:request_success_total",
    "Choices that ended, by reason.",
    ["finished_reason"],
  );
  readonly #firstToken = this.#histogram(
    "vllm:time_to_first_token_seconds",
    "From a request's admission to its first token.",
    FIRST_TOKEN,
  );
  readonly #betweenTokens = this.#histogram(
    "vllm:inter_token_latency_seconds",
    "Between two tokens of a choice.",
    BETWEEN_TOKENS,
  );
  readonly #request = this.#histogram(
    "vllm:e2e_request_latency_seconds",
    "From a request's admission to its end.",
    REQUEST,
  );
  readonly #queueTime = this.#histogram(
    "vllm:request_queue_time_seconds",
    "From a request's admission to its first step.",
    REQUEST,
  );
  readonly #prefillTime = this.#histogram(
    "vllm:request_prefill_time_seconds",
    "From a request's first step to its first token.",
    REQUEST,
  );
  readonly #decodeTime = this.#histogram(
    "vllm:request_decode_time_seconds",
    "From a request's first token to its last one.",
    REQUEST,
  );
  readonly #preemptions = this.#counter(
    "vllm:num_preemptions_total",
    "Requests whose KV was given up for others, to be computed again.",
  );
  readonly #evicted = this.#counter(
    "sounder_prefix_cache_evicted_blocks_total",
    "Blocks that the prefix cache gave up.",
  );
  readonly #requestPrompt = this.#histogram(
    "vllm:request_prompt_tokens",
    "Prompt tokens of a request.",
    TOKENS,
  );
  readonly #requestTokens = this.#histogram(
    "vllm:request_generation_tokens",
    "Generated tokens of a request.",
    TOKENS,
  );
  readonly #stepTokens = this.#histogram(
    "vllm:iteration_tokens_total",
    "Tokens of a step, prompt and generated.",
    STEP_TOKENS,
  );

  readonly #step = this.#histogram("sounder_step_seconds", "Time of a step.", STEP);
  readonly #stages = this.#counter(
    "sounder_step_stage_seconds_total",
    "Time of steps by what the engine did.",
    ["stage"],
  );
  readonly #rowsRead = this.#counter(
    "sounder_rows_read_total",
    "Rows of K and V that a KV head read by sampling, mean over layers, summed over tokens.",
  );
  readonly #rows = this.#counter(
    "sounder_rows_total",
    "Rows that sampling had to choose from, mean over layers, summed over tokens.",
  );
  readonly #sampledTokens = this.#counter(
    "sounder_generation_tokens_total",
    "Generated tokens of requests that ended, by how they attended.",
    ["attention"],
  );
  readonly #effectiveSamples = this.#histogram(
    "sounder_effective_samples",
    "Effective samples of a request whose tokens sampled.",
    SAMPLES,
  );
  readonly #standardError = this.#histogram(
    "sounder_standard_error",
    "Relative standard error of the attention of a request whose tokens sampled.",
    ERROR,
  );
  readonly #verifyError = this.#histogram(
    "sounder_verify_error",
    "Measured relative error of the attention of a token (--verify).",
    ERROR,
  );
  readonly #refused = this.#counter(
    "sounder_requests_refused_total",
    "Requests that were answered with an error, by its code.",
    ["reason"],
  );
  readonly #http = this.#counter(
    "http_requests_total",
    "HTTP requests by route.",
    ["handler", "method", "status"],
  );

  step({ totalMs, stageMs, prefillTokens, decodeTokens }: StepFigures): void {
    this.#step.observe(totalMs / 1000);
    this.#stepTokens.observe(prefillTokens + decodeTokens);
    if (stageMs === null) return;
    const { total: _, choosing: __, ...stages } = stageMs; // choosing is told apart in benches alone
    for (const [stage, ms] of Object.entries(stages)) this.#stages.inc({ stage }, ms / 1000);
  }

  prompt(promptTokens: number, cachedTokens: number): void {
    this.#promptTokens.inc(promptTokens);
    this.#cacheQueries.inc(promptTokens);
    this.#cacheHits.inc(cachedTokens);
  }

  firstToken(ms: number): void {
    this.#firstToken.observe(ms / 1000);
  }

  token(ms: number | null): void {
    this.#tokens.inc();
    if (ms !== null) this.#betweenTokens.observe(ms / 1000);
  }

  choiceEnded(outcome: Outcome): void {
    this.#success.inc({ finished_reason: outcome });
  }

  preempted(): void {
    this.#preemptions.inc();
  }

  ended(usage: Readonly<Usage>, timing: GenerationTiming): void {
    const { attention, sampled } = usage;
    const { queueMs, prefillMs, decodeMs, totalMs } = timing;
    this.#request.observe(totalMs / 1000);
    if (queueMs !== null) this.#queueTime.observe(queueMs / 1000);
    if (prefillMs !== null) this.#prefillTime.observe(prefillMs / 1000);
    if (decodeMs !== null) this.#decodeTime.observe(decodeMs / 1000);
    this.#requestPrompt.observe(usage.promptTokens);
    this.#requestTokens.observe(usage.completionTokens);
    this.#sampledTokens.inc({ attention }, usage.completionTokens);
    if (sampled.tokens === 0) return;
    this.#rowsRead.inc(sampled.rowsRead);
    this.#rows.inc(sampled.rowsTotal);
    if (!leavesToChance(attention)) return;
    observeFinite(this.#standardError, Math.sqrt(sampled.squaredError / sampled.tokens));
    observeFinite(this.#effectiveSamples, sampled.tokens / sampled.inverseSamples);
  }

  verified(error: number): void {
    observeFinite(this.#verifyError, error);
  }

  /** A request was answered; `route` as the app names it, `error` its code. */
  answered(route: string, method: string, status: number, error: string | null): void {
    this.#http.inc({
      handler: route,
      method: METHODS.has(method) ? method : "other",
      status: `${Math.floor(status / 100)}xx`,
    });
    if (error !== null) this.#refused.inc({ reason: error });
  }

  /** All of them in Prometheus' text format. */
  async text(service: Service): Promise<string> {
    const status = service.status();
    const { state, running, waiting, kvBlocks, kvBlocksFree, cache, sessions } = status;
    const cached = cache?.blocks ?? 0;
    this.#running.set(running);
    this.#waiting.set(waiting);
    this.#blocks.set({ state: "free" }, kvBlocksFree - cached);
    this.#blocks.set({ state: "cached" }, cached);
    this.#blocks.set({ state: "used" }, kvBlocks - kvBlocksFree);
    this.#contexts.set({ state: "free" }, status.maxContexts - status.contexts);
    this.#contexts.set({ state: "cached" }, cache?.contexts ?? 0);
    this.#contexts.set({ state: "used" }, status.contexts - (cache?.contexts ?? 0));
    this.#kvUsage.set(kvBlocks === 0 ? 0 : 1 - kvBlocksFree / kvBlocks);
    this.#evicted.reset();
    this.#evicted.inc(cache?.evictedBlocks ?? 0);
    this.#sessions.show(sessions);
    this.#memory.set(Deno.memoryUsage().rss);
    if (state === "ready") this.#registry.setDefaultLabels({ model_name: service.model().id });
    return await this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #gauge<L extends string = never>(name: string, help: string, labelNames: L[] = []): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  #counter<L extends string = never>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: [this.#registry] });
  }
}

/** An estimate may be infinite or NaN, at which the library would throw in the midst of the decode loop. */
function observeFinite(histogram: Histogram, value: number): void {
  if (Number.isFinite(value)) histogram.observe(value);
}

/** `GET /metrics`. */
export function metricsText({ service, options }: Deps): Handler {
  const { metrics } = options;
  return async (c) =>
    c.body(await metrics.text(service), 200, { "content-type": metrics.contentType });
}
