// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { helpText, parseCommandLine } from "../../src/cli.ts";
import { Failure } from "../../src/errors.ts";

const DEFAULTS = { model: "/models/embedded", apiKey: null };

function refusal(...args: string[]): string {
  const failure = assertThrows(() => parseCommandLine(args, DEFAULTS), Failure);
  assertEquals(failure.kind, "invalid");
  assertEquals(failure.message.includes("\n"), false, "one line");
  return failure.message;
}

Deno.test("without arguments the embedded model is served on this machine only", () => {
  const options = parseCommandLine([], DEFAULTS);
  assertEquals(options.command, "serve");
  assertEquals(options.model, "/models/embedded");
  assertEquals([options.host, options.port], ["127.0.0.1", 8080]);
  assertEquals([options.memory, options.context, options.apiKey], [null, null, null]);
});

Deno.test("every flag arrives where it belongs, with a space or an equals sign", () => {
  const options = parseCommandLine(
    "plan --model=/m --host ::1 --port=0 --threads 3 --memory 50% --context=4096 --api-key k --queue 2 --ping 0 --name n --deterministic"
      .split(" "),
    DEFAULTS,
  );
  assertEquals(options, {
    command: "plan",
    model: "/m",
    dummyWeights: null,
    name: "n",
    host: "::1",
    port: 0,
    threads: 3,
    memory: "50%",
    context: 4096,
    apiKey: "k",
    queue: 2,
    pingSeconds: 0,
    deterministic: true,
  });
});

Deno.test("the key from the environment counts when the command line gives none", () => {
  const defaults = { ...DEFAULTS, apiKey: "from environment" };
  assertEquals(parseCommandLine([], defaults).apiKey, "from environment");
  assertEquals(parseCommandLine(["--api-key", "given"], defaults).apiKey, "given");
});

Deno.test("unknown flags, words and impossible values are refused in one line that names them", () => {
  assertStringIncludes(refusal("--bogus"), "--bogus");
  assertStringIncludes(refusal("fly"), "fly");
  assertStringIncludes(refusal("serve", "twice"), "twice");
  assertStringIncludes(refusal("--port"), "--port");
  assertStringIncludes(refusal("--port", "http"), "--port");
  assertStringIncludes(refusal("--port", "65536"), "65535");
  assertStringIncludes(refusal("--threads", "-1"), "--threads");
  assertStringIncludes(refusal("--context", "1e9"), "1e9");
  assertStringIncludes(refusal("--model", "a", "--dummy-weights", "b"), "exclude");
  assertStringIncludes(refusal("--model="), "--model");
});

Deno.test("help names every flag that the parser takes, and wins over everything else", () => {
  assertEquals(parseCommandLine(["--help", "serve"], DEFAULTS).command, "help");
  assertEquals(parseCommandLine(["--version"], DEFAULTS).command, "version");
  for (const flag of ["model", "dummy-weights", "memory", "context", "api-key", "ping"]) {
    assertStringIncludes(helpText(), `--${flag}`);
  }
});

Deno.test("the README shows the help text as it is", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  assertStringIncludes(readme, helpText());
});
