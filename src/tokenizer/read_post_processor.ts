// SPDX-License-Identifier: Apache-2.0
/** Reads which tokens a model wants around a text. */
import { Failure } from "../errors.ts";
import type { Json } from "./json.ts";

interface Around {
  prefix: number[];
  suffix: number[];
}

/**
 * The post-processor of `tokenizer.json`; `add_bos_token` and `add_eos_token` of `tokenizer_config.json`
 * overrule it, as they do for the tokenizers that have them.
 */
export function readAroundText(
  postProcessor: Json,
  config: Json,
  variables: Record<string, string>,
  idOf: (content: string) => number | undefined,
): Around {
  const around = readPostProcessor(postProcessor);
  const overrule = (flag: string, name: string, ids: number[]) => {
    const wanted = config.get(flag);
    const content = variables[name];
    const id = content === undefined ? undefined : idOf(content);
    if (wanted.isMissing || id === undefined) return ids;
    const others = ids.filter((other) => other !== id);
    return wanted.boolean(false) ? [id, ...others] : others;
  };
  return {
    prefix: overrule("add_bos_token", "bos_token", around.prefix),
    suffix: overrule("add_eos_token", "eos_token", around.suffix),
  };
}

function readPostProcessor(step: Json): Around {
  if (step.isMissing) return { prefix: [], suffix: [] };
  const type = step.get("type").string();
  switch (type) {
    case "ByteLevel":
      return { prefix: [], suffix: [] };
    case "Sequence": {
      const parts = step.get("processors").array().map(readPostProcessor);
      return {
        prefix: parts.flatMap((part) => part.prefix),
        suffix: parts.flatMap((part) => part.suffix),
      };
    }
    case "TemplateProcessing":
      return readTemplate(step);
    case "RobertaProcessing":
    case "BertProcessing": {
      const id = (key: string) => step.get(key).array()[1]?.id();
      const [first, last] = [id("cls"), id("sep")];
      if (first === undefined || last === undefined) throw step.wrong("complete");
      return { prefix: [first], suffix: [last] };
    }
    default:
      throw new Failure(
        "model",
        `The tokenizer uses the post-processor "${type}", which this server does not support.`,
      );
  }
}

function readTemplate(step: Json): Around {
  const around: Around = { prefix: [], suffix: [] };
  const known = step.get("special_tokens");
  let side = around.prefix;
  for (const item of step.get("single").array()) {
    const special = item.get("SpecialToken");
    if (special.isMissing) {
      side = around.suffix;
      continue;
    }
    const ids = known.get(special.get("id").string()).get("ids").array();
    side.push(...ids.map((id) => id.id()));
  }
  return around;
}
