// SPDX-License-Identifier: Apache-2.0
/**
 * What texts cost on their way to tokens and back: `deno bench -A bench/tokenizer_bench.ts`.
 * Every iteration of "a text of …" encodes that much English; 1 MB at 10 ms is 100 MB/s.
 */
import { readHuggingFace } from "../src/tokenizer/read_huggingface.ts";
import { families, fromFiles, goldenSource, loaded } from "../tests/fixtures/tokenizers.ts";

const PROSE = "The tide tables for the northern quay were printed in 1911, on paper that hadn't " +
  'been cut; "nobody," the harbour master wrote, "reads them twice" - but he did, every Friday.\n\n';

function prose(characters: number): string {
  return PROSE.repeat(Math.ceil(characters / PROSE.length)).slice(0, characters);
}

/** Words that do not repeat, for the cost without the cache. */
function scrambled(characters: number): string {
  const letters = "etaoinshrdlucmfwypvbgkjqxz";
  let state = 7;
  let text = "";
  while (text.length < characters) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const roll = state >>> 16;
    text += roll % 6 === 0 ? " " : letters[(roll % 26) * (roll % 7) % 26];
  }
  return text;
}

const smollm = await goldenSource("smollm2-135m-instruct");
const tokenizers = {
  recall: await loaded(await goldenSource("recall")),
  smollm2: await loaded(smollm),
  llama2: await fromFiles((await families()).llama2!.tokenizer),
};

const SIZES = { "16 KB": 16_000, "64 KB (16,000 tokens)": 64_000, "1 MB": 1_000_000 };

for (const [name, { tokenizer }] of Object.entries(tokenizers)) {
  for (const [size, characters] of Object.entries(SIZES)) {
    const text = prose(characters);
    Deno.bench(`${name}: a text of ${size}`, () => {
      tokenizer.encode(text);
    });
  }
  const words = scrambled(64_000);
  Deno.bench(`${name}: 64 KB of words that are no words`, () => {
    tokenizer.encode(words);
  });
  const letters = "a".repeat(64_000);
  Deno.bench(`${name}: 64 KB of one letter`, () => {
    tokenizer.encode(letters);
  });
  const ids = tokenizer.encode(prose(64_000));
  Deno.bench(`${name}: decode ${ids.length} tokens`, () => {
    tokenizer.decode(ids);
  });
  Deno.bench(`${name}: stream ${ids.length} tokens`, () => {
    const stream = tokenizer.streamDecoder();
    for (const id of ids) stream.push(id);
  });
}

Deno.bench("load a vocabulary of 49,152", () => {
  readHuggingFace(smollm.tokenizerJson, smollm.tokenizerConfigJson);
});

const chat = [
  { role: "system", content: "Be brief." },
  { role: "user", content: prose(4000) },
];
Deno.bench("a chat of 4 KB, rendered and encoded", async () => {
  await tokenizers.smollm2.encodeChat(chat);
});
Deno.bench("a text of 64 KB by way of the worker", async () => {
  await tokenizers.smollm2.encode(prose(64_000));
});
