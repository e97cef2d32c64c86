// SPDX-License-Identifier: Apache-2.0
/** What the command lines of the evaluations and figures share. */
import { Failure } from "../../src/errors.ts";

/** The folder of the repository, with a slash at its end. */
export const ROOT = decodeURIComponent(new URL("../..", import.meta.url).pathname);

/** Runs a parser of flags; what it throws becomes a sentence that points to the help. */
export function parseFlags<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new Failure("invalid", `${(error as Error).message} (--help lists the flags)`);
  }
}

/** A whole number of the command line. */
export function wholeNumber(flag: string, text: string, least: number): number {
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  throw new Failure(
    "invalid",
    `--${flag} is "${text}"; it must be a whole number from ${least} up.`,
  );
}

/** The layers of a list, none for "none". */
export function layerList(text: string, layers: number): number[] {
  if (text === "none") return [];
  const list = text.split(",").map((layer) => wholeNumber("dense-layers", layer, 0));
  const over = list.find((layer) => layer >= layers);
  if (over === undefined) return [...new Set(list)].toSorted((a, b) => a - b);
  throw new Failure("invalid", `There is no layer ${over}: there are 0 to ${layers - 1}.`);
}

/** Prints what a tool returns, or the sentence of its failure. */
export async function runTool(run: () => Promise<string>): Promise<void> {
  try {
    console.log(await run());
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(error.message);
    Deno.exit(error.kind === "invalid" ? 2 : 1);
  }
}
