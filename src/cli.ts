// SPDX-License-Identifier: Apache-2.0
/** The command line: `main.ts` runs it, `scripts/start.ts` grants the permissions that it needs. */
import { parseArgs } from "node:util";
import { ATTENTION_FLAGS, type AttentionOptions, readAttentionFlags } from "./attention_flags.ts";
import { DEVICE_FLAGS, memorySize, readDevice } from "./device_flags.ts";
import type { HostAttention } from "./engine/settings.ts";
import { Failure } from "./errors.ts";
import { STEP_MS } from "./scheduler/pace.ts";
import type { LogFormat } from "./log.ts";
import { parseSize } from "./model/memory.ts";

/** What the command line asked for. */
export interface Options {
  command: "serve" | "plan" | "help" | "version";
  /** Folder or GGUF file; null with `dummyWeights`. */
  model: string | null;
  /** A config.json whose shape gets seeded random weights. */
  dummyWeights: string | null;
  /** Name for clients; null: the model's own. */
  name: string | null;
  host: string;
  port: number;
  /** 0: one for each physical core. */
  threads: number;
  /** Bytes, a share ("50%") or null: what is available. Kept as written until the machine is known. */
  memory: string | null;
  /** `CPU` of settings.ts, or the index of a GPU. */
  device: number;
  /** Of the GPU's memory, as `memory`; null: nearly all that is free. */
  vram: string | null;
  /** On a GPU: who attends rows that sample where KV lies in host memory. */
  hostAttention: HostAttention;
  /** Longest context in tokens; null: what the model was made for, as far as memory goes. */
  context: number | null;
  /** Keys of which clients must send one; with those of `apiKeyFile`. None: everybody may ask. */
  apiKeys: string[];
  apiKeyFile: string | null;
  /** Requests of different keys share cached KV. */
  sharedCache: boolean;
  /** Origins of web pages that may use the server; "*": all. */
  cors: string[];
  log: LogFormat;
  /** No lines about requests. */
  quiet: boolean;
  /** Requests that may wait. */
  queue: number;
  /** Seconds of silence after which a stream gets a comment; 0: never. */
  pingSeconds: number;
  deterministic: boolean;
  /** Longest time of a request; 0: no limit. */
  requestTimeoutSeconds: number;
  /** Time that running requests get to finish after the first signal. */
  drainSeconds: number;
  /** Milliseconds that a step should take in which some decode. */
  stepMs: number;
  /** Folder of saved contexts, and the most bytes of it. */
  sessions: string | null;
  sessionsBytes: number;
  /** Keep KV for requests that begin alike. */
  prefixCache: boolean;
  attention: AttentionOptions;
}

interface Flag {
  value: string | null;
  help: string;
  /** May be given more than once. */
  multiple?: true;
}

/** Every flag in the order of the help text. */
const FLAGS: Record<string, Flag> = {
  "model": { value: "DIR|FILE.gguf", help: "model to serve (default: the embedded recall model)" },
  "dummy-weights": {
    value: "config.json",
    help: "seeded random weights in that shape, for speed tests",
  },
  "name": { value: "NAME", help: "the model's name in requests (default: its folder or file)" },
  "host": { value: "ADDRESS", help: "address to listen on (default: 127.0.0.1)" },
  "port": { value: "PORT", help: "port to listen on, 0 for a free one (default: 8080)" },
  "threads": { value: "N", help: "threads that compute (default: one for each physical core)" },
  "memory": {
    value: "SIZE",
    help:
      "memory of the server, mostly weights and KV cache, as 12GiB or 50% (default: 80% of what is free); with cuda: host " +
      "memory for KV cache beside the GPU's, and for what the CPU attends there with (default: what a --context " +
      "takes that the GPU cannot hold)",
  },
  ...DEVICE_FLAGS,
  "context": { value: "TOKENS", help: "longest prompt and answer together (default: the model's)" },
  "api-key": {
    value: "KEY",
    help: "ask clients for this key (or environment variable SOUNDER_API_KEY); repeatable",
    multiple: true,
  },
  "api-key-file": { value: "FILE", help: "keys, one a line: any of them will do" },
  "shared-cache": {
    value: null,
    help: "requests of different keys share cached KV, which timing can tell",
  },
  "cors": {
    value: "ORIGIN",
    help: "web pages that may use the server, as https://example.com or *; repeatable",
    multiple: true,
  },
  "log": { value: "text|json", help: "one line for each request, as text or JSON (default: text)" },
  "quiet": { value: null, help: "no lines about requests" },
  "queue": { value: "N", help: "requests that may wait before 429 (default: 64)" },
  "ping": {
    value: "SECONDS",
    help:
      "comment (white space in whole answers) after so long a silence, 0 for none (default: 10)",
  },
  "request-timeout": {
    value: "SECONDS",
    help: "longest time of a request, waiting included, 0 for no limit (default: 0)",
  },
  "drain": {
    value: "SECONDS",
    help: "time that running requests get to finish after SIGTERM or SIGINT (default: 30)",
  },
  "step-ms": {
    value: "MS",
    help: "length of a step in which some decode and others run prompts (default: 50)",
  },
  "no-prefix-cache": {
    value: null,
    help: "keep no KV of what ended for requests that begin with the same tokens",
  },
  "sessions": {
    value: "DIR",
    help:
      "keep contexts there over restarts: saved when idle, when memory is short, when the server stops and on demand",
  },
  "sessions-size": { value: "SIZE", help: "most bytes of that folder, as 50GiB (default: 16GiB)" },
  "deterministic": {
    value: null,
    help: "same result to the last bit whatever else runs, slower prefill",
  },
  ...ATTENTION_FLAGS,
  "help": { value: null, help: "this text" },
  "version": { value: null, help: "the version" },
};

/** The text of --help. */
export function helpText(): string {
  const lines = Object.entries(FLAGS).map(([name, { value, help }]) => {
    const left = `  --${name}${value === null ? "" : ` ${value}`}`;
    return `${left.padEnd(31)} ${help}`;
  });
  return [
    "Sounder: an LLM server for long contexts.",
    "",
    "  deno task start [serve] [flags]   serve the OpenAI API over HTTP",
    "  deno task start plan [flags]      say what would fit into memory, and load nothing",
    "",
    ...lines,
    "",
    "SOUNDER_CPU=scalar|avx2|avx512|amx forces an instruction level.",
  ].join("\n");
}

function invalid(sentence: string): never {
  throw new Failure("invalid", `${sentence} (--help lists the flags)`);
}

function integer(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) {
    invalid(`--${name} takes a whole number from ${least} to ${most}, not "${text}"`);
  }
  return value;
}

type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

function parseFlags(args: readonly string[]): { values: Values; positionals: string[] } {
  const options = Object.fromEntries(
    Object.entries(FLAGS).map(([name, { value, multiple = false }]) => [
      name,
      { type: value === null ? "boolean" as const : "string" as const, multiple },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    const [sentence] = (error as Error).message.split("\n");
    const dashed = /^Option '(--[\w-]+)' argument is ambiguous/.exec(sentence!)?.[1];
    if (dashed !== undefined) {
      invalid(`${dashed} needs a value; one with a dash before it as ${dashed}=-x`);
    }
    invalid(sentence!.replace(/\.?( To specify.*)?$/, ""));
  }
}

function command(positionals: readonly string[], values: Values): Options["command"] {
  if (values.help === true) return "help";
  if (values.version === true) return "version";
  const [word = "serve", ...rest] = positionals;
  if (word !== "serve" && word !== "plan") {
    invalid(`There is no command "${word}"; there are serve and plan`);
  }
  if (rest.length > 0) invalid(`Too many words: "${rest.join(" ")}"`);
  return word;
}

function logFormat(format: string): LogFormat {
  if (format !== "text" && format !== "json") {
    invalid(`--log takes text or json, not "${format}"`);
  }
  return format;
}

function corsOrigin(text: string): string {
  const whole = text === "*" || (URL.canParse(text) && new URL(text).origin === text);
  return whole
    ? text
    : invalid(`--cors takes an origin such as https://example.com, not "${text}"`);
}

function apiKeysOf(flags: string[], environment: string | null): string[] {
  if (flags.length > 0 || environment === null) return flags;
  // An unset variable in a script must not open a server that was to be locked.
  if (environment === "") invalid("SOUNDER_API_KEY is empty: set it to a key, or unset it");
  return [environment];
}

function sessionsOf(folder: string | null, values: Values): string | null {
  if (folder !== null && values["no-prefix-cache"] === true) {
    invalid("--sessions keeps what the prefix cache has: leave out --no-prefix-cache");
  }
  return folder;
}

/**
 * Reads the command line.
 * @param args without the program's name
 * @param defaults the embedded model's folder, and the key from the environment
 * @throws {Failure} kind `invalid` with one sentence: unknown flags, impossible values.
 */
export function parseCommandLine(
  args: readonly string[],
  defaults: { model: string; apiKey: string | null },
): Options {
  const { values, positionals } = parseFlags(args);
  const texts = (name: string): string[] => {
    const given = [values[name]].flat().filter((value) => typeof value === "string");
    if (given.includes("")) invalid(`--${name} needs a value`);
    return given;
  };
  const text = (name: string): string | null => texts(name)[0] ?? null;
  const number = (name: string, fallback: number, least: number, most: number): number => {
    const value = text(name);
    return value === null ? fallback : integer(name, value, least, most);
  };
  const dummyWeights = text("dummy-weights");
  if (dummyWeights !== null && text("model") !== null) {
    invalid("--model and --dummy-weights exclude each other");
  }
  return {
    command: command(positionals, values),
    model: dummyWeights === null ? text("model") ?? defaults.model : null,
    dummyWeights,
    name: text("name"),
    host: text("host") ?? "127.0.0.1",
    port: number("port", 8080, 0, 65535),
    threads: number("threads", 0, 1, 1024),
    memory: memorySize("memory", text("memory"), invalid),
    ...readDevice(text, values.deterministic === true, invalid),
    context: text("context") === null ? null : number("context", 0, 16, 1 << 24),
    apiKeys: apiKeysOf(texts("api-key"), defaults.apiKey),
    apiKeyFile: text("api-key-file"),
    sharedCache: values["shared-cache"] === true,
    cors: texts("cors").map(corsOrigin),
    log: logFormat(text("log") ?? "text"),
    quiet: values.quiet === true,
    queue: number("queue", 64, 0, 100_000),
    pingSeconds: number("ping", 10, 0, 3600),
    sessions: sessionsOf(text("sessions"), values),
    sessionsBytes: parseSize(text("sessions-size") ?? "16GiB"),
    deterministic: values.deterministic === true,
    requestTimeoutSeconds: number("request-timeout", 0, 0, 1_000_000),
    drainSeconds: number("drain", 30, 0, 86_400),
    stepMs: number("step-ms", STEP_MS, 1, 60_000),
    prefixCache: values["no-prefix-cache"] !== true,
    attention: readAttentionFlags({
      text,
      texts,
      integer: number,
      has: (name) => values[name] !== undefined,
      invalid,
    }),
  };
}
