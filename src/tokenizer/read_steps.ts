// SPDX-License-Identifier: Apache-2.0
/** Reads normalizer, pre-tokenizer and decoder of a `tokenizer.json`. */
import { Failure } from "../errors.ts";
import type { Json } from "./json.ts";
import { translateRegex } from "./regex.ts";
import type { DecodeRules, NormalizerStep, Pattern, SplitBehavior, SplitStep } from "./spec.ts";

/** GPT-2's expression, which ByteLevel means when it says `use_regex`. */
export const GPT2_SPLIT =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const UNICODE_FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;
const BEHAVIORS: ReadonlyMap<string, SplitBehavior> = new Map([
  ["Removed", "removed"],
  ["Isolated", "isolated"],
  ["MergedWithPrevious", "merged_with_previous"],
  ["MergedWithNext", "merged_with_next"],
  ["Contiguous", "contiguous"],
]);

function unsupported(what: string, step: Json): Failure {
  return new Failure(
    "model",
    `The tokenizer uses the ${what} "${step.get("type").string()}" (${step.place}), ` +
      "which this server does not support.",
  );
}

function readPattern(pattern: Json): Pattern {
  const literal = pattern.get("String");
  if (!literal.isMissing) {
    if (literal.string() === "") throw literal.wrong("a text that is not empty");
    return { text: literal.string() };
  }
  return { regex: translateRegex(pattern.get("Regex").string()) };
}

/** Steps of a normalizer; none when it is missing. */
export function readNormalizer(step: Json): NormalizerStep[] {
  if (step.isMissing) return [];
  const type = step.get("type").string();
  const form = UNICODE_FORMS.find((name) => name === type);
  if (form) return [{ kind: "unicode", form }];
  switch (type) {
    case "Sequence":
      return step.get("normalizers").array().flatMap(readNormalizer);
    case "Lowercase":
      return [{ kind: "lowercase" }];
    case "Prepend":
      return [{ kind: "prepend", text: step.get("prepend").string() }];
    case "Replace":
      return [{
        kind: "replace",
        pattern: readPattern(step.get("pattern")),
        content: step.get("content").string(),
      }];
    case "Strip":
      return [{
        kind: "strip",
        left: step.get("strip_left").boolean(true),
        right: step.get("strip_right").boolean(true),
      }];
    default:
      throw unsupported("normalizer", step);
  }
}

/** What a pre-tokenizer does. */
export interface PreTokenizer {
  splits: SplitStep[];
  /** Pieces are turned into bytes at the end. */
  byteLevel: boolean;
}

/** Steps of a pre-tokenizer; none when it is missing. */
export function readPreTokenizer(step: Json): PreTokenizer {
  const steps = flatten(step);
  const byteLevel = steps.findIndex((item) => item.get("type").string() === "ByteLevel");
  if (byteLevel >= 0 && byteLevel < steps.length - 1) {
    throw new Failure(
      "model",
      `${step.place} splits after it has turned the text into bytes, which is not supported.`,
    );
  }
  return { splits: steps.flatMap(readSplit), byteLevel: byteLevel >= 0 };
}

function flatten(step: Json): Json[] {
  if (step.isMissing) return [];
  if (step.get("type").string() !== "Sequence") return [step];
  return step.get("pretokenizers").array().flatMap(flatten);
}

function split(regex: string, behavior: SplitBehavior, invert = false): SplitStep {
  return { kind: "split", pattern: { regex: translateRegex(regex) }, behavior, invert };
}

function readSplit(step: Json): SplitStep[] {
  switch (step.get("type").string()) {
    case "ByteLevel": {
      const prefix = step.get("add_prefix_space").boolean(true);
      const useRegex = step.get("use_regex").boolean(true);
      return [
        ...(prefix ? [{ kind: "prefix_space" } as const] : []),
        ...(useRegex ? [split(GPT2_SPLIT, "isolated")] : []),
      ];
    }
    case "Split":
      return [{
        kind: "split",
        pattern: readPattern(step.get("pattern")),
        behavior: readBehavior(step.get("behavior")),
        invert: step.get("invert").boolean(false),
      }];
    case "Digits":
      return step.get("individual_digits").boolean(false)
        ? [split("\\p{N}", "isolated")]
        : [split("\\p{N}", "contiguous")];
    case "Punctuation": {
      const behavior = step.get("behavior");
      return [
        split("[\\p{P}$+<=>^`|~]", behavior.isMissing ? "isolated" : readBehavior(behavior)),
      ];
    }
    case "Whitespace":
      return [split("\\w+|[^\\w\\s]+", "removed", true)];
    case "WhitespaceSplit":
      return [split("\\s", "removed")];
    case "Metaspace":
      return [readMetaspace(step)];
    default:
      throw unsupported("pre-tokenizer", step);
  }
}

function readBehavior(behavior: Json): SplitBehavior {
  const known = BEHAVIORS.get(behavior.string());
  if (!known) throw behavior.wrong(`one of ${[...BEHAVIORS.keys()].join(", ")}`);
  return known;
}

function readMetaspace(step: Json): SplitStep {
  return {
    kind: "metaspace",
    replacement: readReplacement(step),
    prepend: readPrependScheme(step),
    split: step.get("split").boolean(true),
  };
}

function readReplacement(step: Json): string {
  const replacement = step.get("replacement").stringOr("\u2581");
  if (replacement === "") throw step.get("replacement").wrong("a character");
  return replacement;
}

function readPrependScheme(step: Json): "always" | "first" | "never" {
  const scheme = step.get("prepend_scheme");
  if (scheme.isMissing) return step.get("add_prefix_space").boolean(true) ? "always" : "never";
  const known = (["always", "first", "never"] as const).find((name) => name === scheme.value);
  if (!known) throw scheme.wrong('"always", "first" or "never"');
  return known;
}

/** What a decoder does. */
export interface Decoder {
  rules: DecodeRules;
  textOfToken: (token: string) => string;
}

/** Reads the decoder of a tokenizer whose alphabet is characters. */
export function readDecoder(step: Json): Decoder {
  const rules: DecodeRules = { stripSpaces: 0, stripFirstToken: false };
  const changes: ((token: string) => string)[] = [];
  let fused = false;
  const read = (item: Json) => {
    if (item.isMissing) return;
    switch (item.get("type").string()) {
      case "Sequence":
        item.get("decoders").array().forEach(read);
        return;
      case "Replace":
        changes.push(readReplace(item));
        return;
      case "Metaspace": {
        const replacement = readReplacement(item);
        changes.push((token) => token.replaceAll(replacement, " "));
        rules.stripFirstToken = readPrependScheme(item) !== "never";
        return;
      }
      case "Fuse":
        fused = true;
        return;
      case "ByteFallback":
      case "ByteLevel":
        return;
      case "Strip":
        rules.stripSpaces = readStrip(item, fused);
        return;
      default:
        throw unsupported("decoder", item);
    }
  };
  read(step);
  if (step.isMissing) changes.push((token) => token.replaceAll("\u2581", " "));
  return {
    rules,
    textOfToken: (token) => changes.reduce((text, change) => change(text), token),
  };
}

function readReplace(step: Json): (token: string) => string {
  const pattern = readPattern(step.get("pattern"));
  const content = step.get("content").string();
  const search = "text" in pattern ? pattern.text : new RegExp(pattern.regex, "gv");
  return (token) => token.replaceAll(search, () => content);
}

function readStrip(step: Json, fused: boolean): number {
  const count = (key: string) => {
    const value = step.get(key);
    return value.isMissing ? 0 : value.id();
  };
  const plain = fused && step.get("content").stringOr(" ") === " " && count("stop") === 0;
  if (!plain) throw unsupported("decoder", step);
  return count("start");
}
