// SPDX-License-Identifier: Apache-2.0
/** Documents of four families, against a full run; `tests/slow/evaluation_test.ts` is the full run. */
import { assert, assertEquals } from "@std/assert";
import {
  answerDocument,
  EVALUATION_SETTINGS,
  exactMatches,
  readDocuments,
  storedScores,
} from "../fixtures/evaluation.ts";
import { RECALL, TestEngine } from "../fixtures/native_engine.ts";

// One of each kind: an id, the right one of many, several at once, a chain.
const FAMILIES = ["single_id", "multikey", "multiquery", "tracing"];
const ones = (digits: string) => digits.replaceAll("0", "").length;

Deno.test("recall answers questions about documents of four families as in the stored full run", async () => {
  const all = await readDocuments();
  const documents = FAMILIES.map((family) => all.find((document) => document.family === family)!);
  const stored = storedScores().documents;
  await using model = await TestEngine.open(RECALL, EVALUATION_SETTINGS);
  const text = await model.text();
  try {
    const different: string[] = [];
    let [right, questions] = [0, 0];
    for (const document of documents) {
      const replied = await answerDocument(model, text, document);
      const matches = exactMatches(document, replied);
      right += ones(matches);
      questions += matches.length;
      [...matches].forEach((match, i) => {
        if (match === stored[document.id]![i]) return;
        different.push(`${document.id}, question ${i}: ${JSON.stringify(replied[i])}`);
      });
    }
    assertEquals(questions, 13);
    // Another processor rounds otherwise, which may turn a reply that was a close call.
    assert(different.length <= 1, `${right} of ${questions} right; ${different.join("\n")}`);
    assertEquals(model.engine.usage().contexts, 0);
  } finally {
    text.close();
  }
});
