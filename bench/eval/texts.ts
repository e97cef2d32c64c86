// SPDX-License-Identifier: Apache-2.0
/** Texts as tokens of a model. */
import { basename } from "node:path";
import { Failure } from "../../src/errors.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import { ROOT } from "./flags.ts";

export const TEXTS = `${ROOT}bench/texts`;

/** A text of which a model reads everything and the last tokens are looked at. */
export interface TextTokens {
  name: string;
  tokens: Int32Array;
}

async function filesOf(path: string): Promise<string[]> {
  const { isDirectory } = await Deno.stat(path);
  if (!isDirectory) return [path];
  const names = [];
  for await (const { name } of Deno.readDir(path)) if (name.endsWith(".txt")) names.push(name);
  return names.sort().map((name) => `${path}/${name}`);
}

/**
 * Reads files, and all .txt files of folders, from a list with commas between. Chat markers in them are special
 * tokens. Texts longer than `most` are cut.
 */
export async function readTexts(
  list: string,
  text: TextProcessor,
  most: number,
  least: number,
): Promise<TextTokens[]> {
  const texts: TextTokens[] = [];
  for (const path of list.split(",")) {
    const files = await filesOf(path).catch((error: Error) => {
      throw new Failure("invalid", `The text ${path} cannot be read: ${error.message}.`);
    });
    for (const file of files) {
      const all = await text.encode(await Deno.readTextFile(file), {
        addSpecial: true,
        parseSpecial: true,
      });
      const tokens = all.subarray(0, most);
      if (tokens.length < least) {
        throw new Failure("invalid", `${file} has ${tokens.length} tokens; ${least} are needed.`);
      }
      texts.push({ name: basename(file).replace(/\.txt$/, ""), tokens });
    }
  }
  return texts;
}
