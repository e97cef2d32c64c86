// SPDX-License-Identifier: Apache-2.0
/** The dense attention that one would otherwise run: PyTorch's on the CPU, in a venv of its own under build/. */
import { TurnTaker } from "./turns.ts";

const FOLDER = decodeURIComponent(new URL("../build/torch", import.meta.url).pathname);
const SCRIPT = decodeURIComponent(new URL("./attention_torch.py", import.meta.url).pathname);
const VERSION = "2.13.0";

async function succeeds(command: string, ...args: string[]): Promise<boolean> {
  try {
    const options = { args, stdout: "null", stderr: "null" } as const;
    return (await new Deno.Command(command, options).output()).success;
  } catch {
    return false;
  }
}

/** A Python that has PyTorch; null, with a sentence on stderr, where there can be none. */
export async function findTorch(): Promise<string | null> {
  const python = `${FOLDER}/bin/python3`;
  if (await succeeds(python, "-c", "import torch")) return python;
  if (!await succeeds("python3", "-m", "venv", FOLDER)) {
    console.error("PyTorch is not measured: there is no python3 that can make a venv.");
    return null;
  }
  console.error(`Installing PyTorch ${VERSION} into ${FOLDER}, once …`);
  const packages = [`torch==${VERSION}`, "numpy"];
  if (await succeeds(python, "-m", "pip", "install", "--quiet", ...packages)) return python;
  console.error(`PyTorch is not measured: pip could not install ${packages.join(" and ")}.`);
  return null;
}

export interface TorchShape {
  length: number;
  kvHeads: number;
  group: number;
  headDim: number;
  threads: number;
}

/** PyTorch, ready to attend once for each line; null, with a sentence on stderr, when it fails. */
export async function startTorch(python: string, shape: TorchShape): Promise<TurnTaker | null> {
  const { length, kvHeads, group, headDim, threads } = shape;
  const numbers = [length, kvHeads, group, headDim, threads].map(String);
  // Its threads must not spin while it isn't its turn.
  const torch = new TurnTaker(python, [SCRIPT, ...numbers], { OMP_WAIT_POLICY: "passive" });
  if ((await torch.line())?.startsWith("torch ")) return torch;
  await torch.end();
  console.error("PyTorch is not measured: it failed (message above).");
  return null;
}
