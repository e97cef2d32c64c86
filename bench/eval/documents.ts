// SPDX-License-Identifier: Apache-2.0
/** Evaluation documents: a JSON object a line, gzip-compressed or not. tests/fixtures/eval/README.md says more. */
import { z } from "zod";
import { Failure } from "../../src/errors.ts";

const DOCUMENT = z.object({
  id: z.string(),
  family: z.string(),
  tokens: z.number(),
  document: z.string(),
  questions: z.array(
    z.object({ question: z.string(), answer: z.string(), values: z.array(z.string()) }),
  ).min(1),
});

/** A document with questions about it. */
export type EvaluationDocument = z.infer<typeof DOCUMENT>;

async function readText(path: string): Promise<string> {
  try {
    const file = await Deno.open(path);
    const stream = path.endsWith(".gz")
      ? file.readable.pipeThrough(new DecompressionStream("gzip"))
      : file.readable;
    return await new Response(stream).text();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("invalid", `The evaluation file ${path} cannot be read: ${why}.`);
  }
}

function parseLine(path: string, line: string, number: number): EvaluationDocument {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new Failure("invalid", `${path}, line ${number}: this is not JSON.`);
  }
  const parsed = DOCUMENT.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue!.path.join(".") || "the line";
  throw new Failure("invalid", `${path}, line ${number}: ${where}: ${issue!.message}.`);
}

/** Reads a file. @throws {Failure} `invalid` naming the line that is wrong. */
export async function readDocuments(path: string): Promise<EvaluationDocument[]> {
  const lines = (await readText(path)).split("\n");
  const documents = lines.flatMap((line, i) =>
    line.trim() === "" ? [] : [parseLine(path, line, i + 1)]
  );
  if (documents.length === 0) throw new Failure("invalid", `${path} has no documents.`);
  return documents;
}

/**
 * At most `count` documents of the given families (null: all), the first ones of each family in turn, so that
 * a small sample has every family. In the order of the file.
 */
export function sampleDocuments(
  documents: readonly EvaluationDocument[],
  families: readonly string[] | null,
  count: number,
): EvaluationDocument[] {
  const known = [...new Set(documents.map(({ family }) => family))];
  const unknown = families?.find((family) => !known.includes(family));
  if (unknown !== undefined) {
    throw new Failure("invalid", `There is no family ${unknown}: there are ${known.join(", ")}.`);
  }
  const wanted = documents.filter(({ family }) => families?.includes(family) ?? true);
  const rank = (document: EvaluationDocument) =>
    wanted.filter(({ family }) => family === document.family).indexOf(document);
  const inTurn = wanted.map((document, place) => ({ document, place, rank: rank(document) }))
    .toSorted((a, b) => a.rank - b.rank || a.place - b.place)
    .slice(0, count);
  return inTurn.toSorted((a, b) => a.place - b.place).map(({ document }) => document);
}
