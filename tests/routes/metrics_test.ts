// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Metrics } from "../../routes/metrics.ts";
import { Failure } from "../../src/errors.ts";
import { NO_SAMPLED } from "../../src/generate/sampled_usage.ts";
import { STAGES } from "../fixtures/fake_context.ts";
import { done, FakeService } from "../fixtures/fake_service.ts";
import { appOver, post } from "./client.ts";

const messages = [{ role: "user", content: "hi" }];

/** The samples of the text format by name and labels; the model's label is left out. */
function samples(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const [, name, value] = /^(.*) (\S+)$/.exec(line)!;
    return [name!.replace(/,?model_name="[^"]*"/, "").replace("{}", ""), Number(value)];
  }));
}

async function scrape(metrics: Metrics, service = new FakeService()) {
  const response = await appOver(service, { metrics }).request("/metrics");
  assertEquals(response.status, 200);
  assertMatch(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  return await response.text();
}

Deno.test("gauges say what the service says, under vLLM's names and with the model's", async () => {
  const service = new FakeService();
  Object.assign(service.current, {
    running: 3,
    waiting: 2,
    kvBlocks: 8,
    kvBlocksFree: 6,
    contexts: 4,
  });
  const figures = { contexts: 1, lookups: 2, hits: 1, promptTokens: 9, hitTokens: 4 };
  service.current.cache = { ...figures, blocks: 5, evictedBlocks: 7 };
  const text = await scrape(new Metrics(), service);
  assertStringIncludes(text, 'vllm:num_requests_running{model_name="fake/model"} 3\n');
  const found = samples(text);
  assertEquals(found.get("vllm:num_requests_waiting"), 2);
  assertEquals(found.get("vllm:kv_cache_usage_perc"), 0.25);
  assertEquals(found.get('sounder_kv_blocks{state="free"}'), 1);
  assertEquals(found.get('sounder_kv_blocks{state="cached"}'), 5);
  assertEquals(found.get("sounder_prefix_cache_evicted_blocks_total"), 7);
  assertEquals(found.get('sounder_kv_blocks{state="used"}'), 2);
  const contexts = ["free", "cached", "used"].map((state) =>
    found.get(`sounder_contexts{state="${state}"}`)
  );
  assertEquals(contexts, [12, 1, 3]);
  assert(found.get("process_resident_memory_bytes")! > 1e6);
});

Deno.test("sessions on disk are counted", async () => {
  const service = new FakeService();
  const sessions = {
    count: 3,
    bytes: 4000,
    saves: 5,
    restores: 6,
    restoredTokens: 700,
    failures: 1,
  };
  Object.assign(service.current, { sessions });
  const found = samples(await scrape(new Metrics(), service));
  assertEquals(found.get("sounder_sessions"), 3);
  assertEquals(found.get("sounder_sessions_bytes"), 4000);
  assertEquals(found.get("sounder_session_saves_total"), 5);
  assertEquals(found.get("sounder_session_restores_total"), 6);
  assertEquals(found.get("sounder_session_restored_tokens_total"), 700);
  assertEquals(found.get("sounder_session_failures_total"), 1);
});

Deno.test("metrics are there while the model loads, when nothing is known of it", async () => {
  const service = new FakeService();
  Object.assign(service.current, { state: "loading", kvBlocks: 0, kvBlocksFree: 0 });
  assertEquals(samples(await scrape(new Metrics(), service)).get("vllm:kv_cache_usage_perc"), 0);
});

Deno.test("what an observer is told is counted, times in seconds", async () => {
  const metrics = new Metrics();
  metrics.prompt(100, 64);
  metrics.firstToken(250);
  metrics.token(null);
  metrics.token(20);
  metrics.choiceEnded("stop");
  metrics.verified(0.02);
  const sampled = {
    ...NO_SAMPLED,
    tokens: 2,
    rowsRead: 40,
    rowsTotal: 2000,
    inverseSamples: 0.02,
    squaredError: 0.0008,
  };
  const event = done({ promptTokens: 100, completionTokens: 2, attention: "sketch", sampled });
  const timing = { queueMs: 100, prefillMs: 250, decodeMs: 1000, totalMs: 1500 };
  metrics.ended(event.type === "done" ? event.usage : assert(false)!, timing);
  metrics.preempted();
  const stageMs = { ...STAGES, total: 9, matmul: 4, attention: 3, output: 1, sampling: 1 };
  metrics.step({ totalMs: 10, stageMs, sequences: 2, prefillTokens: 5, decodeTokens: 1 });
  metrics.step({ totalMs: 10, stageMs: null, sequences: 1, prefillTokens: 0, decodeTokens: 1 });
  const found = samples(await scrape(metrics));
  const expected = {
    "vllm:prompt_tokens_total": 100,
    "vllm:prefix_cache_queries_total": 100,
    "vllm:prefix_cache_hits_total": 64,
    "vllm:generation_tokens_total": 2,
    "vllm:time_to_first_token_seconds_sum": 0.25,
    "vllm:inter_token_latency_seconds_sum": 0.02,
    "vllm:inter_token_latency_seconds_count": 1,
    "vllm:e2e_request_latency_seconds_sum": 1.5,
    "vllm:request_queue_time_seconds_sum": 0.1,
    "vllm:request_prefill_time_seconds_sum": 0.25,
    "vllm:request_decode_time_seconds_sum": 1,
    "vllm:num_preemptions_total": 1,
    "vllm:request_prompt_tokens_sum": 100,
    "vllm:request_generation_tokens_sum": 2,
    'vllm:request_success_total{finished_reason="stop"}': 1,
    "vllm:iteration_tokens_total_sum": 7,
    sounder_step_seconds_count: 2,
    'sounder_step_stage_seconds_total{stage="matmul"}': 0.004,
    'sounder_step_stage_seconds_total{stage="attention"}': 0.003,
    sounder_rows_read_total: 40,
    sounder_rows_total: 2000,
    sounder_effective_samples_sum: 100,
    sounder_standard_error_sum: 0.02,
    sounder_verify_error_sum: 0.02,
    'sounder_generation_tokens_total{attention="sketch"}': 2,
  };
  for (const [name, value] of Object.entries(expected)) {
    assert(Math.abs(found.get(name)! - value) < 1e-9, `${name} is ${found.get(name)}`);
  }
});

Deno.test("estimates that are no numbers are left out and break nothing", async () => {
  const metrics = new Metrics();
  const timing = { queueMs: null, prefillMs: null, decodeMs: null, totalMs: 1 };
  const sampled = { ...NO_SAMPLED, tokens: 1, squaredError: NaN, inverseSamples: 0 };
  for (const attention of ["sketch", "topk"] as const) {
    const known = attention === "topk" ? { ...sampled, squaredError: 0 } : sampled;
    const event = done({ attention, sampled: known });
    metrics.ended(event.type === "done" ? event.usage : assert(false)!, timing);
  }
  for (const error of [NaN, Infinity]) metrics.verified(error);
  const found = samples(await scrape(metrics));
  for (const name of ["standard_error", "effective_samples", "verify_error"]) {
    assertEquals(found.get(`sounder_${name}_count`), 0);
  }
  assertEquals(found.get("vllm:request_queue_time_seconds_count"), 0);
  assertEquals(found.get("vllm:e2e_request_latency_seconds_count"), 2);
});

Deno.test("requests are counted by route, and refusals by reason; clients choose no label", async () => {
  const metrics = new Metrics();
  const service = new FakeService();
  service.refusals.set(1, new Failure("too_many_requests", "Full", { retryAfterSeconds: 1 }));
  const app = appOver(service, { metrics });
  const chat = (body: unknown) => post(app, "/v1/chat/completions", body);
  for (const body of [{ messages }, { messages }, { model: "x", messages }]) await chat(body);
  await app.request("/v1/models/a/b");
  await app.request("/made/up");
  await app.request("/health", { method: "BREW" });
  const found = samples(await scrape(metrics, service));
  const http = (handler: string, method: string, status: string) =>
    found.get(`http_requests_total{handler="${handler}",method="${method}",status="${status}"}`);
  assertEquals(http("/v1/chat/completions", "POST", "2xx"), 1);
  assertEquals(http("/v1/chat/completions", "POST", "4xx"), 2);
  assertEquals(http("/v1/models/:id{.+}", "GET", "4xx"), 1);
  assertEquals(http("none", "GET", "4xx"), 1);
  assertEquals(http("/health", "other", "4xx"), 1);
  const refused = (reason: string) =>
    found.get(`sounder_requests_refused_total{reason="${reason}"}`);
  assertEquals(refused("rate_limit_exceeded"), 1);
  assertEquals(refused("model_not_found"), 2);
  assertEquals(refused("not_found"), 1);
});
