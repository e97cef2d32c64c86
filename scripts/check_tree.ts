// SPDX-License-Identifier: Apache-2.0
/**
 * Rules about files that no formatter knows: nothing too long to read in one sitting, a licence line in
 * every source file, C++ formatted, nothing that refers to places outside the repository.
 */

const ROOT = new URL("..", import.meta.url);
const SOURCE = /\.(ts|h|cpp|c|inc|cu|cuh)$/;
const NATIVE = /\.(h|cpp|c|inc|cu|cuh)$/;
const GENERATED = new Set(["ffi/symbols.ts"]);
const MAX_LINES = 300;
const MAX_KERNEL_LINES = 400;
const KERNELS = /^native\/src\/(cpu|attention|sampled|cuda|onednn)\//;
/** The ABI header is a manual, read by section. */
const MANUALS = new Set(["native/include/sounder.h"]);
/** Assembled here so that this file does not contain it. */
const OUTSIDE = ["..", "shared"].join("/");

async function run(command: string, ...args: string[]): Promise<{ ok: boolean; text: string }> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, cwd: ROOT }).output();
  return {
    ok: success,
    text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr),
  };
}

async function trackedFiles(): Promise<string[]> {
  const { text } = await run("git", "ls-files", "--cached", "--others", "--exclude-standard");
  const files = text.split("\n").filter((name) => name !== "");
  const present = await Promise.all(
    files.map((name) => Deno.stat(new URL(name, ROOT)).then(() => true, () => false)),
  );
  return files.filter((_, i) => present[i]);
}

function problemsOf(name: string, text: string): string[] {
  const problems: string[] = [];
  if (text.includes(OUTSIDE)) problems.push(`${name}: refers to ${OUTSIDE}`);
  if (!SOURCE.test(name)) return problems;
  const lines = text.split("\n");
  if (!lines.slice(0, 2).some((line) => line.includes("SPDX-License-Identifier: Apache-2.0"))) {
    problems.push(`${name}: no SPDX line at its top`);
  }
  const limit = KERNELS.test(name) ? MAX_KERNEL_LINES : MAX_LINES;
  if (lines.length - 1 > limit && !GENERATED.has(name) && !MANUALS.has(name)) {
    problems.push(`${name}: ${lines.length - 1} lines, more than ${limit}`);
  }
  return problems;
}

const files = (await trackedFiles()).filter((name) => !/\.(gz|safetensors)$/.test(name));
const problems: string[] = [];
for (const name of files) {
  problems.push(...problemsOf(name, await Deno.readTextFile(new URL(name, ROOT))));
}
const native = files.filter((name) => NATIVE.test(name));
const format = await run("clang-format", "--dry-run", "--Werror", ...native).catch(() => null);
if (format === null) {
  problems.push("clang-format is missing (Debian: apt-get install clang-format)");
} else if (!format.ok) problems.push(format.text);

for (const problem of problems) console.error(problem);
if (problems.length > 0) Deno.exit(1);
