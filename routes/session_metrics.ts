// SPDX-License-Identifier: Apache-2.0
/** The metrics of sessions on disk. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { SessionFigures } from "../src/types.ts";

type Figure = keyof SessionFigures;

const STATE = {
  count: ["sounder_sessions", "Sessions on disk."],
  bytes: ["sounder_sessions_bytes", "Bytes of all sessions on disk."],
} as const;

const EVENTS = {
  saves: ["sounder_session_saves_total", "Contexts that were saved."],
  restores: ["sounder_session_restores_total", "Contexts that were restored."],
  restoredTokens: ["sounder_session_restored_tokens_total", "Tokens whose KV was restored."],
  failures: ["sounder_session_failures_total", "Saves and restores that failed."],
} as const;

/** They show what the service counts; a server that keeps no sessions shows zeros. */
export class SessionMetrics {
  readonly #gauges: [Figure, Gauge][];
  readonly #counters: [Figure, Counter][];

  constructor(registry: Registry) {
    const registers = [registry];
    this.#gauges = Object.entries(STATE).map(([key, [name, help]]) => [
      key as Figure,
      new Gauge({ name, help, registers }),
    ]);
    this.#counters = Object.entries(EVENTS).map(([key, [name, help]]) => [
      key as Figure,
      new Counter({ name, help, registers }),
    ]);
  }

  show(figures: SessionFigures | null): void {
    for (const [key, gauge] of this.#gauges) gauge.set(figures?.[key] ?? 0);
    for (const [key, counter] of this.#counters) {
      counter.reset();
      counter.inc(figures?.[key] ?? 0);
    }
  }
}
