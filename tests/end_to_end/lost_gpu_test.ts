// SPDX-License-Identifier: Apache-2.0
// A GPU that fails for good while the server runs. The emulated one does so when it is asked to.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";

const LIBRARY = new URL("../../build/release/emulated/libsounder.so", import.meta.url).pathname;
const SENTENCE = "an illegal memory access was encountered. The server has to be started again.";

Deno.test("a server whose GPU fails for good tells its clients why, and ends with a failure", async () => {
  // The first step of recall takes some hundred kernels.
  await using server = new TestServer(["--device", "cuda", "--quiet"], {
    SOUNDER_LIBRARY: LIBRARY,
    SOUNDER_EMULATED_KERNELS: "300",
  });
  const url = await server.ready();
  const ask = (stream: boolean) =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "Ada keeps the lamp.", max_tokens: 2000, stream }),
    });
  const [streamed, whole] = await Promise.all([ask(true), ask(false)]);
  assertStringIncludes(await streamed.text(), SENTENCE);
  const { error } = await whole.json();
  assertStringIncludes(error.message, SENTENCE);
  assertEquals(error.code, "device_lost");
  assertEquals(await server.ended(), 1);
  assert(server.log.includes(SENTENCE), server.log);
});
