// SPDX-License-Identifier: Apache-2.0
/** Where API keys come from. */
import { Failure } from "./errors.ts";

/** The keys of a file: one a line; empty lines and those that start with # are left out. */
export function keysOf(text: string, path: string): string[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const keys = lines.filter((line) => line !== "" && !line.startsWith("#"));
  // A server that was to be locked must not open because its file came out empty.
  if (keys.length === 0) throw new Failure("invalid", `Cannot read API keys: ${path} has none.`);
  return keys;
}

/** @throws {Failure} when it can't be read or holds no key */
export async function readKeys(path: string): Promise<string[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw new Failure("invalid", `Cannot read API keys: ${(error as Error).message}`);
  }
  return keysOf(text, path);
}
