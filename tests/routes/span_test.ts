// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertLess } from "@std/assert";
import { activeSpan } from "../../routes/span.ts";

Deno.test("without tracing there is no span, and asking for it costs less than a microsecond", () => {
  assertEquals(activeSpan(), null);
  const calls = 100_000;
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) activeSpan();
    return (performance.now() - start) * 1000 / calls;
  });
  assertLess(Math.min(...times), 1);
});
