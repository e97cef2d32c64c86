// SPDX-License-Identifier: Apache-2.0
/** What load balancers and people ask first. These routes need no key and touch no model. */
import type { VerifyTotals } from "../src/types.ts";
import type { Deps, Handler } from "./context.ts";

/** `GET /health`, `/health/ready`, `/ping`: 200 when requests are taken, otherwise 503 and why not. */
export function health({ service }: Deps): Handler {
  return (c) => {
    const { state, progress, reason, ...load } = service.status();
    switch (state) {
      case "ready":
        return c.json({
          status: "ok",
          running: load.running,
          waiting: load.waiting,
          kv_blocks: load.kvBlocks,
          kv_blocks_free: load.kvBlocksFree,
          ...(load.cache === null ? {} : { kv_blocks_cached: load.cache.blocks }),
          ...(load.verify === null ? {} : { verify: verifyBody(load.verify) }),
        });
      case "loading":
        return c.json({ status: state, progress }, 503, { "retry-after": "1" });
      case "draining":
        return c.json({ status: state }, 503, { "retry-after": "5" });
      case "failed":
        return c.json({ status: state, reason }, 503);
    }
  };
}

/** `GET /health/live`: 200 as long as the process answers, whether or not it takes requests. */
export function live(): Handler {
  return (c) => c.json({ status: "alive" });
}

function verifyBody({ tokens, meanError, largestError }: VerifyTotals): Record<string, unknown> {
  return { tokens, mean_error: meanError, largest_error: largestError };
}

/** `GET /version`. */
export function version({ options }: Deps): Handler {
  return (c) => c.json({ version: options.version });
}
