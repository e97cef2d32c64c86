// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { helpText, parseCommandLine } from "../../src/cli.ts";
import { CPU } from "../../src/engine/settings.ts";
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
  assertEquals([options.requestTimeoutSeconds, options.drainSeconds], [0, 30]);
  assertEquals([options.prefixCache, options.sharedCache, options.stepMs], [true, false, 50]);
  assertEquals([options.memory, options.context, options.apiKeys], [null, null, []]);
});

Deno.test("every flag arrives where it belongs, with a space or an equals sign", () => {
  const options = parseCommandLine(
    "plan --model=/m --host ::1 --port=0 --threads 3 --memory 50% --context=4096 --api-key k --api-key=l --api-key-file f --shared-cache --cors https://a.example --cors=* --log json --quiet --queue 2 --ping 0 --name n --deterministic --request-timeout 60 --drain 5 --step-ms 80 --no-prefix-cache --sessions-size=2GB"
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
    device: CPU,
    vram: null,
    hostAttention: "gpu",
    context: 4096,
    apiKeys: ["k", "l"],
    apiKeyFile: "f",
    sharedCache: true,
    cors: ["https://a.example", "*"],
    log: "json",
    quiet: true,
    queue: 2,
    pingSeconds: 0,
    deterministic: true,
    requestTimeoutSeconds: 60,
    drainSeconds: 5,
    stepMs: 80,
    prefixCache: false,
    sessions: null,
    sessionsBytes: 2e9,
    attention: parseCommandLine([], DEFAULTS).attention,
  });
});

Deno.test("a device is cpu, cuda or cuda:N, and its flags are its own", () => {
  const device = (...args: string[]) => parseCommandLine(args, DEFAULTS).device;
  assertEquals(device(), CPU);
  assertEquals(device("--device", "cpu"), CPU);
  assertEquals(device("--device", "cuda"), 0);
  assertEquals(device("--device=cuda:7"), 7);
  assertEquals(parseCommandLine(["--device=cuda", "--vram=24G"], DEFAULTS).vram, "24G");
  for (const name of ["cuda:", "cuda:-1", "gpu", "cuda:1000"]) {
    assertStringIncludes(refusal("--device", name), `cpu, cuda or cuda:N, not "${name}"`);
  }
  assertStringIncludes(refusal("--vram", "24G"), "--device cuda");
  const attention = (name: string) =>
    parseCommandLine(["--device=cuda", `--host-attention=${name}`], DEFAULTS).hostAttention;
  assertEquals(["gpu", "cpu", "split"].map(attention), ["gpu", "cpu", "split"]);
  assertStringIncludes(refusal("--host-attention", "cpu"), "--device cuda");
  assertStringIncludes(
    refusal("--device=cuda", "--host-attention=both"),
    '--host-attention takes gpu, cpu, split, not "both"',
  );
  assertEquals(parseCommandLine(["--device=cuda", "--memory=24G"], DEFAULTS).memory, "24G");
  assertStringIncludes(refusal("--device=cuda", "--deterministic"), "--deterministic");
});

Deno.test("without flags, sketches of 2 bits serve prompts beyond 8,192 tokens", () => {
  assertEquals(parseCommandLine([], DEFAULTS).attention, {
    index: {
      sketchBits: 2,
      sketchCentring: "block",
      lsh: null,
      lshCentring: "context",
      questPage: 0,
      yardsticks: false,
      sink: 4,
      window: 64,
      leastRows: 256,
      seed: 1,
    },
    denseLayers: [],
    strategy: "auto",
    autoFrom: 8192,
    budget: 0.02,
    beta: 1,
    collisions: 2,
    verify: 0,
    asked: false,
  });
});

Deno.test("every flag of attention arrives where it belongs", () => {
  const { attention } = parseCommandLine(
    ("--index sketch:4,quest:32 --index=lsh:9x120 --experimental --attention oracle --auto-from 0 " +
      "--budget .5 --beta 1e-1 --sink 0 --window 24 --least-rows 300 --dense-layers 16,0 --sketch-centre off " +
      "--lsh-centre off --collisions 3 --verify 1").split(" "),
    DEFAULTS,
  );
  assertEquals(attention, {
    index: {
      sketchBits: 4,
      sketchCentring: "off",
      lsh: { bits: 9, tables: 120 },
      lshCentring: "off",
      questPage: 32,
      yardsticks: true,
      sink: 0,
      window: 24,
      leastRows: 300,
      seed: 1,
    },
    denseLayers: [0, 16],
    strategy: "oracle",
    autoFrom: 0,
    budget: 0.5,
    beta: 0.1,
    collisions: 3,
    verify: 1,
    asked: true,
  });
});

Deno.test("a preset is the paper's index, strategy and dense layers, and flags go before it", () => {
  const read = (...args: string[]) => parseCommandLine(args, DEFAULTS).attention;
  for (
    const [name, bits, tables] of [
      ["magicpig-10x150", 10, 150],
      ["magicpig-9x120", 9, 120],
      ["magicpig-8x75", 8, 75],
    ] as const
  ) {
    const { index, ...attention } = read("--preset", name);
    assertEquals([index.lsh, index.sketchBits], [{ bits, tables }, 0]);
    assertEquals([index.sink, index.window, index.lshCentring], [4, 64, "context"]);
    assertEquals([attention.strategy, attention.denseLayers], ["lsh", "published"]);
    assertEquals([attention.collisions, attention.asked], [2, true]);
  }
  const mixed = read("--preset=magicpig-8x75", "--index=sketch:1", "--attention=auto");
  assertEquals([mixed.index.sketchBits, mixed.index.lsh?.tables], [1, 75]);
  assertEquals(mixed.strategy, "auto");
  assertEquals(read("--preset=magicpig-8x75", "--dense-layers=none").denseLayers, []);
  assertEquals(read("--index=sketch,lsh:9x120").denseLayers, [0]);
  assertEquals(read("--index=sketch:1").denseLayers, []);
  assertEquals(read("--index", "none").asked, false);
});

Deno.test("flags of attention out of range are refused with what they take", () => {
  const shows = (line: string, ...parts: string[]) => {
    for (const part of parts) assertStringIncludes(refusal(...line.split(" ")), part);
  };
  shows("--attention best", "--attention takes one of auto, full, sketch, lsh", '"best"');
  shows("--attention lsh", "--attention lsh needs --index lsh:10x150");
  shows("--attention sketch --index none", "--attention sketch needs --index sketch");
  shows("--attention topk", "needs --experimental");
  shows("--index quest:16", "needs --experimental");
  shows("--index sketch:3", "sketch:4", '"sketch:3"');
  shows("--index lsh:16x10", "K from 1 to 15", '"lsh:16x10"');
  shows("--index lsh:0x10", '"lsh:0x10"');
  shows("--index lsh:10x1001", '"lsh:10x1001"');
  shows("--index lsh:8x1", "fewer tables than --collisions (2)");
  shows("--index lsh:8x2 --collisions 3", "fewer tables than --collisions (3)");
  shows("--index quest:8 --experimental", '"quest:8"');
  shows("--index sketch,", "none", '""');
  shows("--index sketch,sketch:1", "sketch is given twice");
  shows("--index lsh:1x1 --index lsh:2x2", "lsh is given twice");
  shows("--index none,sketch", "none excludes every other index");
  shows("--index none --preset magicpig-8x75", "none excludes every other index and --preset");
  shows("--index lsh:8x75 --preset magicpig-8x75", "--index lsh and --preset exclude");
  shows("--preset paper", "magicpig-10x150, magicpig-9x120, magicpig-8x75", '"paper"');
  shows("--budget 0", '--budget takes a number over 0 and up to 1, not "0"');
  shows("--budget 2%", '"2%"');
  shows("--beta 4.1", "up to 4");
  shows("--verify 1.5", "--verify takes a number from 0 to 1");
  shows("--sink -1", "--sink");
  shows("--window 0", "from 1");
  shows("--collisions 4", "from 1 to 3");
  shows("--auto-from x", "--auto-from");
  shows("--dense-layers 0,x", '"0,x"');
  shows("--dense-layers 3,3", "twice");
  shows("--sketch-centre mean", "one of block, context, off");
  shows("--lsh-centre block", "one of context, off");
});

Deno.test("the key from the environment counts when the command line gives none", () => {
  const defaults = { ...DEFAULTS, apiKey: "from environment" };
  assertEquals(parseCommandLine([], defaults).apiKeys, ["from environment"]);
  assertEquals(parseCommandLine(["--api-key", "given"], defaults).apiKeys, ["given"]);
});

Deno.test("an empty key in the environment is a mistake and does not open the server", () => {
  const error = assertThrows(() => parseCommandLine([], { ...DEFAULTS, apiKey: "" }), Failure);
  assertStringIncludes(error.message, "SOUNDER_API_KEY is empty");
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
  assertStringIncludes(refusal("--log", "xml"), "text or json");
  for (const origin of ["a.example", "https://a.example/", "https://a.example/x", "null"]) {
    assertStringIncludes(refusal("--cors", origin), `"${origin}"`);
  }
});

Deno.test("help names every flag that the parser takes, and wins over everything else", () => {
  assertEquals(parseCommandLine(["--help", "serve"], DEFAULTS).command, "help");
  assertEquals(parseCommandLine(["--version"], DEFAULTS).command, "version");
  for (
    const flag of [
      "attention",
      "index",
      "model",
      "dummy-weights",
      "memory",
      "context",
      "api-key",
      "ping",
    ]
  ) {
    assertStringIncludes(helpText(), `--${flag}`);
  }
});

Deno.test("the README shows the help text as it is", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  assertStringIncludes(readme, helpText());
});

Deno.test("a size that is none, and a negative number, are told with their flag", () => {
  assertStringIncludes(refusal("--memory", "lots"), "--memory takes a size as 12GiB");
  assertStringIncludes(refusal("--step-ms", "-1"), "--step-ms needs a value");
  assertStringIncludes(refusal("--step-ms=-1"), "--step-ms takes a whole number from 1");
  assertEquals(parseCommandLine(["--memory", "50%"], DEFAULTS).memory, "50%");
});
