// SPDX-License-Identifier: Apache-2.0
/**
 * Deno traces requests itself (OTEL_DENO=true). This tells its span what Deno cannot know: the route and,
 * under OpenTelemetry's names for generative models, what was computed. Without tracing there is no span.
 */
import { trace } from "@opentelemetry/api";
import type { RequestEntry } from "./request_record.ts";

/** Call it while the request's span is active; what it returns, when the request has ended. */
export function activeSpan(): ((route: string, entry: RequestEntry) => void) | null {
  const span = trace.getActiveSpan();
  if (span === undefined) return null;
  return (route, entry) => {
    span.updateName(`${entry.method} ${route}`);
    span.setAttribute("http.route", route);
    span.setAttribute("sounder.request.id", entry.id);
    if (entry.error !== undefined) span.setAttribute("error.type", entry.error);
    if (entry.model === undefined) return;
    span.setAttribute("gen_ai.request.model", entry.model);
    if (entry.prompt_tokens === undefined) return;
    span.setAttribute("gen_ai.usage.input_tokens", entry.prompt_tokens);
    span.setAttribute("gen_ai.usage.output_tokens", entry.completion_tokens!);
    span.setAttribute("gen_ai.usage.cache_read.input_tokens", entry.cached_tokens!);
  };
}
