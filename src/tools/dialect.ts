// SPDX-License-Identifier: Apache-2.0
/** How families of models write that they call a tool. */

/** What a model's chat template shows it to have been trained on. */
export type DialectName = "hermes" | "llama" | "mistral" | "mistral_args" | "json";

/** The form of a call; `{…}` stands for a JSON object. */
export interface Dialect {
  /** Text or special token in front of a call, or of a list of calls; null: an answer that starts with `{`. */
  opener: string | null;
  /** Text behind a call. */
  closer: string | null;
  /** The key of the arguments. */
  argumentsKey: "arguments" | "parameters";
  /** `object`: `{"name", "arguments"}`; `list`: `[{…}, {…}]`; `named`: the name, `[ARGS]`, and the arguments. */
  form: "object" | "list" | "named";
  /** What stands between calls. */
  separator: string;
}

/** Between the name and the arguments of the form `named`. */
export const ARGS_MARK = "[ARGS]";
/** Llama's token in front of a call; it may be left out. */
export const PYTHON_TAG = "<|python_tag|>";

export const DIALECTS: Readonly<Record<DialectName, Dialect>> = {
  hermes: {
    opener: "<tool_call>",
    closer: "</tool_call>",
    argumentsKey: "arguments",
    form: "object",
    separator: "\n",
  },
  llama: {
    opener: null,
    closer: null,
    argumentsKey: "parameters",
    form: "object",
    separator: "; ",
  },
  mistral: {
    opener: "[TOOL_CALLS]",
    closer: null,
    argumentsKey: "arguments",
    form: "list",
    separator: ", ",
  },
  mistral_args: {
    opener: "[TOOL_CALLS]",
    closer: null,
    argumentsKey: "arguments",
    form: "named",
    separator: "",
  },
  json: {
    opener: null,
    closer: null,
    argumentsKey: "arguments",
    form: "object",
    separator: "\n",
  },
};

/** The template writes down which tools there are. */
export function mentionsTools(template: string | null): boolean {
  return template !== null && /\btools\b/.test(template);
}

/** The dialect of a chat template. `json`: it says nothing of tools, so the prompt has to. */
export function dialectOf(template: string | null): DialectName {
  if (template === null || !mentionsTools(template)) return "json";
  if (template.includes("<tool_call>")) return "hermes";
  if (template.includes("[TOOL_CALLS]")) {
    return template.includes(ARGS_MARK) ? "mistral_args" : "mistral";
  }
  if (template.includes(PYTHON_TAG) || /"parameters":\s*dictionary/.test(template)) return "llama";
  return "json";
}

/** Special tokens that must stay in a text for its calls to be found. */
export function marksOf({ opener, form }: Dialect): string[] {
  return [...(opener === null ? [PYTHON_TAG] : [opener]), ...(form === "named" ? [ARGS_MARK] : [])];
}

/** A tool that a model may call. */
export interface Tool {
  name: string;
  description: string | null;
  /** JSON schema of its arguments; undefined: it takes none. */
  parameters: unknown;
  /** Arguments must follow the schema to the letter, or the request is refused. */
  strict: boolean;
}
