// SPDX-License-Identifier: Apache-2.0
/** What this machine can do at best, measured by the native kernel bench in the same run. */

const ROOT = new URL("..", import.meta.url);

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd: new URL("native/", ROOT),
  }).output();
  if (!success) {
    throw new Error(`${command} ${args.join(" ")}\n${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

/** Builds a native bench program, and returns where it lies. */
export async function buildBench(name: string): Promise<string> {
  await run("cmake", "--preset", "release", "-DSOUNDER_BENCH=ON");
  await run("cmake", "--build", "../build/release", "--parallel", "--target", name);
  return decodeURIComponent(new URL(`build/release/${name}`, ROOT).pathname);
}

/** Builds a native bench program and returns the "name value unit" lines that it prints. */
export async function nativeBench(name: string, ...args: string[]): Promise<string[]> {
  return (await run(await buildBench(name), ...args)).trim().split("\n");
}

/** The figure of a line that starts with a name. */
export function figure(lines: readonly string[], name: string): number {
  const line = lines.find((text) => text.startsWith(`${name} `));
  if (line === undefined) throw new Error(`the native bench printed no ${name}`);
  return Number(line.split(/\s+/)[1]);
}
