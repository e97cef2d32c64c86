// SPDX-License-Identifier: Apache-2.0
/** For models without a tokenizer (seeded random weights): every byte is a token. */
import { buildSpec } from "./build_spec.ts";
import { characterOfByte } from "./byte_level.ts";
import { createPairTable } from "./pair_table.ts";
import type { LoadedTokenizer } from "./read_huggingface.ts";
import { Vocabulary } from "./vocabulary.ts";

/** Ids are the bytes. Messages are written one under the other. */
export function byteTokenizer(): LoadedTokenizer {
  const vocabulary = new Vocabulary(256);
  for (let byte = 0; byte < 256; byte++) vocabulary.set(characterOfByte(byte), byte);
  const spec = buildSpec({
    alphabet: "bytes",
    vocabulary,
    added: [],
    special: [],
    merges: createPairTable(0),
    byteFallback: false,
    ignoreMerges: false,
    unknown: -1,
    fuseUnknown: false,
    normalizers: [],
    splits: [],
    prefix: [],
    suffix: [],
    decode: { stripSpaces: 0, stripFirstToken: false },
    textOfToken: (token) => token,
  });
  const template =
    "{% for message in messages %}{{ message.role + ': ' + message.content + '\\n' }}" +
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
  return { spec, endTokens: [], templates: new Map([["default", template]]), variables: {} };
}
