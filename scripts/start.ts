// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task start`: builds the native library when it is not built, then runs main.ts with exactly the
 * permissions that the flags need.
 */
import { Failure } from "../src/errors.ts";
import { type Options, parseCommandLine } from "../src/cli.ts";
import { build } from "./build.ts";
import { buildWeb } from "./web.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** A path as the user meant it: relative to where `deno task` was called, not to the project. */
function fromCaller(path: string): string {
  return path.startsWith("/") ? path : `${Deno.env.get("INIT_CWD") ?? Deno.cwd()}/${path}`;
}

/** A model's path, and where links in it lead: Deno asks for the permission of both. */
async function modelPaths(path: string): Promise<string[]> {
  const paths = [path];
  const add = async (link: string) => {
    const real = await Deno.realPath(link).catch(() => link);
    if (real !== link) paths.push(real);
  };
  await add(path);
  try {
    for await (const entry of Deno.readDir(path)) {
      if (entry.isSymlink) await add(`${path}/${entry.name}`);
    }
  } catch {
    // A file, or nothing: main.ts says so.
  }
  return paths;
}

/** The folder of sessions, made so that it can be said where links on the way to it lead. */
async function sessionPaths({ command, sessions }: Options): Promise<string[]> {
  if (command !== "serve" || sessions === null) return [];
  // What goes wrong here main.ts says.
  await Deno.mkdir(sessions, { recursive: true, mode: 0o700 }).catch(() => {});
  const real = await Deno.realPath(sessions).catch(() => sessions);
  return [...new Set([sessions, real])];
}

async function permissions(options: Options): Promise<string[]> {
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;
  const library = Deno.env.get("SOUNDER_LIBRARY");
  const libraries = [`${ROOT}build/release`, ...(library ? [fromCaller(library)] : [])];
  const model = options.model ?? options.dummyWeights!;
  const reads = [
    ...libraries,
    `${ROOT}src/tokenizer`,
    `${ROOT}build/web`,
    `${ROOT}src/errors.ts`,
    ...await modelPaths(model),
  ];
  if (options.apiKeyFile !== null) reads.push(options.apiKeyFile);
  const writes = await sessionPaths(options);
  reads.push(...writes);
  return [
    `--allow-net=${options.port === 0 ? host : `${host}:${options.port}`}`,
    `--allow-read=${reads.join(",")}`,
    `--allow-ffi=${libraries.join(",")}`,
    ...(writes.length > 0 ? [`--allow-write=${writes.join(",")}`] : []),
    "--allow-env=SOUNDER_LIBRARY,SOUNDER_API_KEY",
  ];
}

/** The arguments for main.ts, paths made absolute. */
function absolutePaths(args: readonly string[]): string[] {
  const flags = ["--model", "--dummy-weights", "--sessions", "--api-key-file"];
  return args.map((arg, i) => {
    const flag = flags.find((name) => arg.startsWith(`${name}=`));
    if (flag !== undefined) return `${flag}=${fromCaller(arg.slice(flag.length + 1))}`;
    return flags.includes(args[i - 1] ?? "") ? fromCaller(arg) : arg;
  });
}

async function start(args: readonly string[]): Promise<number> {
  const options = parseCommandLine(args, { model: `${ROOT}models/recall`, apiKey: null });
  if (options.command === "serve" || options.command === "plan") await build();
  if (options.command === "serve") await buildWeb();
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${ROOT}deno.json`,
      ...await permissions(options),
      `${ROOT}main.ts`,
      ...args,
    ],
  }).spawn();
  const forward = (signal: Deno.Signal) => () => {
    try {
      child.kill(signal);
    } catch {
      // It has ended already.
    }
  };
  // From a terminal the child gets SIGINT twice; main.ts takes two at once for one.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, forward(signal));
  }
  return (await child.status).code;
}

try {
  Deno.exit(await start(absolutePaths(Deno.args)));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(error.message);
  Deno.exit(2);
}
