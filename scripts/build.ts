// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the native library into build/release (`deno task build`); `deno task start` and
 * `deno task test` come by here first, so it is quick when there is nothing to do.
 */

const ROOT = new URL("..", import.meta.url);
const LIBRARY = new URL("build/release/libsounder.so", ROOT);

function fail(sentence: string): never {
  console.error(sentence);
  Deno.exit(1);
}

async function works(command: string, ...args: string[]): Promise<boolean> {
  try {
    const options = { args, stdout: "null", stderr: "null" } as const;
    return (await new Deno.Command(command, options).output()).success;
  } catch {
    return false;
  }
}

async function newest(folder: URL): Promise<number> {
  let latest = 0;
  for await (const entry of Deno.readDir(folder)) {
    const url = new URL(entry.isDirectory ? `${entry.name}/` : entry.name, folder);
    const time = entry.isDirectory
      ? await newest(url)
      : (await Deno.stat(url)).mtime?.getTime() ?? 0;
    latest = Math.max(latest, time);
  }
  return latest;
}

async function upToDate(): Promise<boolean> {
  try {
    const built = (await Deno.stat(LIBRARY)).mtime?.getTime() ?? 0;
    return built > await newest(new URL("native/", ROOT));
  } catch {
    return false;
  }
}

async function requireTools(): Promise<void> {
  if (!await works("cmake", "--version")) {
    fail("CMake is needed to build the native library. On Debian: apt-get install cmake g++");
  }
  if (!await works("c++", "--version")) {
    fail("A C++20 compiler is needed to build the native library. On Debian: apt-get install g++");
  }
}

async function hasOneDnn(): Promise<boolean> {
  const child = new Deno.Command("c++", {
    args: ["-x", "c++", "-fsyntax-only", "-include", "dnnl.h", "/dev/null"],
    stdout: "null",
    stderr: "null",
  });
  return (await child.output()).success;
}

/** oneDNN multiplies on AMX tiles; without it the library builds all the same, with its own product. */
async function tryOneDnn(): Promise<void> {
  if (await hasOneDnn()) return;
  const isRoot = Deno.uid() === 0;
  if (isRoot && await works("apt-get", "--version")) {
    console.error("Installing oneDNN (libdnnl-dev): prefill on CPUs with AMX needs it …");
    const install = ["install", "-y", "--no-install-recommends", "libdnnl-dev"];
    if (await works("apt-get", ...install)) return;
    if (await works("apt-get", "update") && await works("apt-get", ...install)) return;
  }
  console.error(
    "Building without oneDNN: prefill will be slower, on CPUs with AMX several times. On Debian: " +
      "apt-get install libdnnl-dev, then `deno task build`.",
  );
}

/** Runs cmake, shows its percentages on one line, and all of its output when it fails. */
async function cmake(what: string, ...args: string[]): Promise<void> {
  const command = new Deno.Command("cmake", {
    args,
    cwd: new URL("native/", ROOT),
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  const output: string[] = [];
  const isTerminal = Deno.stderr.isTerminal();
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream() as never)) {
      output.push(text as unknown as string);
      const percent = (text as unknown as string).match(/\[ *(\d+%)\]/)?.[1];
      if (isTerminal && percent) Deno.stderr.writeSync(encode(`\r${what} … ${percent} `));
    }
  };
  await Promise.all([read(child.stdout), read(child.stderr)]);
  if (isTerminal) Deno.stderr.writeSync(encode("\r\x1b[K"));
  if (!(await child.status).success) {
    console.error(output.join(""));
    fail(`${what} failed: cmake ${args.join(" ")} (output above)`);
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Builds the library when a source is newer than it, or always. */
export async function build(always = false): Promise<void> {
  if (!always && await upToDate()) return;
  await requireTools();
  await tryOneDnn();
  const start = performance.now();
  console.error("Building the native library (about a minute the first time, a few with CUDA) …");
  const jobs = String(navigator.hardwareConcurrency);
  await cmake("Configuring", "--preset", "release");
  await cmake("Building", "--build", "../build/release", "--target", "runtime", "--parallel", jobs);
  const now = new Date();
  await Deno.utime(LIBRARY, now, now);
  console.error(`Built in ${((performance.now() - start) / 1000).toFixed(0)} s.`);
}

if (import.meta.main) await build(true);
