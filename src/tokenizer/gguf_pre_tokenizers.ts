// SPDX-License-Identifier: Apache-2.0
/**
 * What the names in GGUF's `tokenizer.ggml.pre` mean: the expressions that cut a text, applied one after
 * the other. The file holds only the name; its meaning is fixed by the programs that write GGUF.
 */
import { GPT2_SPLIT } from "./read_steps.ts";

/** How a kind of byte-level tokenizer splits. */
export interface GgufPreTokenizer {
  splits: readonly string[];
  /** A piece that is a token as a whole is not split further. */
  ignoreMerges: boolean;
  /** A text gets a BOS when the file does not say otherwise. */
  addBos: boolean;
}

const CONTRACTION = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const LINES_AND_SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const WORD_WITH_MARK = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";

function modern(digits: string): string {
  return `${CONTRACTION}|${WORD_WITH_MARK}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${LINES_AND_SPACES}`;
}

/** Words that start anew at a capital: "camelCase" is two. */
function cased(contraction: string, digits: string): string {
  return `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contraction}|` +
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contraction}|${digits}|` +
    ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${LINES_AND_SPACES}`;
}

const DEFAULT = ["[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_SPLIT, "\\p{N}+", "[0-9][0-9][0-9]"];
const DIGITS_ALONE = ["\\p{N}", GPT2_SPLIT];
const DEEPSEEK3 = [
  "\\p{N}{1,3}",
  "[一-龥぀-ゟ゠-ヿ]+",
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" +
  `[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${LINES_AND_SPACES}`,
];
const DEEPSEEK_CODER = ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"];

const KINDS: readonly { names: string; splits: readonly string[]; whole?: true; bos?: true }[] = [
  { names: "default", splits: DEFAULT },
  {
    names: "gpt-2 gpt2 phi-2 mpt olmo jais trillion granite-docling gigachat " +
      "a.x-4.0 mellum",
    splits: [GPT2_SPLIT],
  },
  {
    names: "smollm starcoder refact command-r codeshell exaone minerva-7b megrez",
    splits: DIGITS_ALONE,
  },
  {
    names: "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2",
    splits: [modern("\\p{N}{1,3}")],
    whole: true,
    bos: true,
  },
  { names: "dbrx smaug-bpe chatglm-bpe glm4", splits: [modern("\\p{N}{1,3}")] },
  {
    names: "qwen2 deepseek-r1-qwen kormo stablelm2 hunyuan grok-2",
    splits: [modern("\\p{N}")],
  },
  { names: "tekken", splits: [cased("", "\\p{N}")], whole: true, bos: true },
  {
    names: "gpt-4o llama4 kanana2 minimax-m2",
    splits: [cased(`${CONTRACTION}?`, "\\p{N}{1,3}")],
  },
  { names: "deepseek-v3 hunyuan-dense joyai-llm", splits: DEEPSEEK3 },
  { names: "deepseek-coder", splits: DEEPSEEK_CODER },
];

/** Null for names that are not known. */
export function ggufPreTokenizer(name: string): GgufPreTokenizer | null {
  const kind = KINDS.find(({ names }) => names.split(" ").includes(name));
  if (!kind) return null;
  return { splits: kind.splits, ignoreMerges: kind.whole ?? false, addBos: kind.bos ?? false };
}

/** All names, for messages. */
export function ggufPreTokenizerNames(): string[] {
  return KINDS.flatMap(({ names }) => names.split(" "));
}
