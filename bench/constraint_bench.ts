// SPDX-License-Identifier: Apache-2.0
/**
 * What constraints cost: compiling, and the mask of each token, the first time that an answer goes a way and after
 * that. `deno run -A bench/constraint_bench.ts [tokenizer.json]` (default: SmolLM2's, 49,152 tokens).
 */
import { type AnswerFormat, formatGrammar } from "../src/constraint/compiler.ts";
import { GrammarConstraint } from "../src/constraint/constraint.ts";
import { buildTokenTrie } from "../src/constraint/token_trie.ts";
import { hasToken } from "../src/constraint/token_set.ts";
import { loadTextProcessor } from "../src/tokenizer/load.ts";
import type { Tokenizer } from "../src/tokenizer/tokenizer.ts";

const DEFAULT = new URL("../tests/fixtures/smollm2_tokenizer.json.gz", import.meta.url);

async function readText(path: string | URL): Promise<string> {
  const file = await Deno.open(path);
  const bytes = String(path).endsWith(".gz")
    ? file.readable.pipeThrough(new DecompressionStream("gzip"))
    : file.readable;
  return await new Response(bytes).text();
}

const TEXT = "The quick brown fox jumps over the lazy dog. ".repeat(4);
const person = {
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer", minimum: 0, maximum: 150 },
    tags: { type: "array", items: { type: "string" } },
    kind: { enum: ["a", "b", "c"] },
    address: {
      type: "object",
      properties: { street: { type: "string" }, zip: { type: "string", pattern: "^[0-9]{5}$" } },
      required: ["street", "zip"],
    },
  },
  required: ["name", "age", "tags", "kind", "address"],
};
const CASES: Record<string, [AnswerFormat, string]> = {
  "a schema": [
    { kind: "schema", schema: person, strict: true },
    JSON.stringify({
      name: `Jean "Q" ${TEXT}`,
      age: 42,
      tags: ["x y", "zzz"],
      kind: "b",
      address: { street: "A long street", zip: "12345" },
    }),
  ],
  "maxLength 200": [
    { kind: "schema", schema: { type: "string", maxLength: 200 }, strict: true },
    JSON.stringify(TEXT),
  ],
  "any JSON": [
    { kind: "json" },
    JSON.stringify({
      list: Array.from(
        { length: 50 },
        (_, i) => ({ name: `item ${i}`, value: i * 3.5, x: [null] }),
      ),
    }),
  ],
  "a regular expression": [{ kind: "regex", regex: "([A-Za-z,.]+ ){1,100}" }, TEXT],
  "one that can be read in many ways": [{ kind: "regex", regex: "([A-Za-z,.]+ ?){1,100}" }, TEXT],
};

function milliseconds(times: number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(3);
  return `mean ${mean.toFixed(3)}  p50 ${at(0.5)}  p99 ${at(0.99)}  max ${at(1)} ms`;
}

function follow(constraint: GrammarConstraint, tokens: Int32Array): number[] {
  const matcher = constraint.matcher(new Set());
  return Array.from(tokens, (token) => {
    const started = performance.now();
    const mask = matcher.allowed();
    const took = performance.now() - started;
    if (!hasToken(mask, token)) throw new Error(`token ${token} is not allowed`);
    matcher.accept(token);
    return took;
  });
}

async function bench(path: string | URL): Promise<void> {
  const source = { tokenizerJson: await readText(path), tokenizerConfigJson: "{}" };
  const { tokenizer }: { tokenizer: Tokenizer } = await loadTextProcessor({
    kind: "huggingface",
    ...source,
  });
  let started = performance.now();
  const trie = buildTokenTrie(tokenizer, tokenizer.size);
  const took = (performance.now() - started).toFixed(0);
  console.log(`${tokenizer.size} tokens; their tree: ${trie.bytes.length} nodes in ${took} ms`);
  for (const [name, [format, answer]] of Object.entries(CASES)) {
    started = performance.now();
    const constraint = new GrammarConstraint(formatGrammar(format), trie, tokenizer);
    constraint.matcher(new Set()).allowed();
    const compiled = (performance.now() - started).toFixed(2);
    const tokens = tokenizer.encode(answer);
    console.log(`\n${name}: compiled in ${compiled} ms, ${tokens.length} tokens`);
    console.log(`  first  ${milliseconds(follow(constraint, tokens))}`);
    console.log(`  again  ${milliseconds(follow(constraint, tokens))}`);
    console.log(`  caches ${(constraint.bytes / 2 ** 20).toFixed(1)} MiB`);
  }
}

await bench(Deno.args[0] ?? DEFAULT);
