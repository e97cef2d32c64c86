// SPDX-License-Identifier: Apache-2.0
/** Python clients in environments of their own under build/clients, made once for each list of packages. */

const ROOT = new URL("../../build/clients/", import.meta.url).pathname;

/** An environment, or the sentence that says why there is none. */
export type Venv = { python: string; bin: string } | { reason: string };

async function run(command: string, ...args: string[]): Promise<string | null> {
  try {
    const { success, stderr } = await new Deno.Command(command, { args, stdout: "null" }).output();
    return success ? null : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return (error as Error).message;
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * An environment with these packages from PyPI (`name==version`), in a folder named after `name`. A folder without
 * its mark of completion was interrupted and is made anew.
 */
export async function venv(name: string, packages: readonly string[]): Promise<Venv> {
  const list = new TextEncoder().encode(packages.join("\n"));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", list)).toHex().slice(0, 12);
  const folder = `${ROOT}${name}-${hash}`;
  const made = { python: `${folder}/bin/python`, bin: `${folder}/bin` };
  if (await exists(`${folder}/complete`)) return made;
  await Deno.mkdir(ROOT, { recursive: true });
  const failure = await run("python3", "-m", "venv", "--clear", folder) ??
    await run(
      made.python,
      "-m",
      "pip",
      "install",
      "--quiet",
      "--no-compile",
      "--retries",
      "1",
      ...packages,
    );
  if (failure !== null) {
    const why = failure.split("\n").filter((line) => !line.startsWith("WARNING")).at(-1);
    return { reason: `Python's packages for ${name} cannot be installed: ${why}` };
  }
  await Deno.writeTextFile(`${folder}/complete`, packages.join("\n"));
  return made;
}

/** What a program of an environment printed. @throws with all of it when it fails or takes too long. */
export async function output(
  program: string,
  args: readonly string[],
  options: { seconds: number; cwd?: string; env?: Record<string, string> },
): Promise<string> {
  const { seconds, ...rest } = options;
  const signal = AbortSignal.timeout(seconds * 1000);
  const command = new Deno.Command(program, { ...rest, args: [...args], signal });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout);
  if (success) return text;
  const why = signal.aborted ? `took more than ${seconds} s` : "failed";
  throw new Error(`${program} ${why}:\n${text}\n${new TextDecoder().decode(stderr)}`);
}

/** A test over an environment; without one it is ignored, and its reason printed. */
export function testWith(
  environment: Venv,
  name: string,
  body: (environment: { python: string; bin: string }, t: Deno.TestContext) => Promise<void>,
): void {
  if (!("reason" in environment)) return Deno.test(name, (t) => body(environment, t));
  console.error(`${name}: left out. ${environment.reason}`);
  Deno.test({ name, ignore: true, fn: () => {} });
}
