// SPDX-License-Identifier: Apache-2.0
/** Makes tokenizer and chat template of a model ready for use. */
import { Failure } from "../errors.ts";
import type { TokenizerSource } from "../model/model.ts";
import { byteTokenizer } from "./byte_tokenizer.ts";
import {
  type ChatRenderer,
  chatRenderer,
  type ChatSource,
  howOfChat,
  sizeOfChat,
} from "./chat_prompt.ts";
import { type EncodeHow } from "./encoder.ts";
import { readGguf } from "./read_gguf.ts";
import { type LoadedTokenizer, readHuggingFace } from "./read_huggingface.ts";
import { encodeHow, SpecTokenizer } from "./spec_tokenizer.ts";
import type {
  ChatMessage,
  ChatOptions,
  EncodeOptions,
  TextProcessor,
  TokenizerInfo,
} from "./tokenizer.ts";
import { type DialectName, dialectOf, mentionsTools } from "../tools/dialect.ts";
import { withInstructions } from "../tools/instructions.ts";
import { workerAllowed, WorkerClient } from "./worker_client.ts";

/** Options of {@linkcode loadTextProcessor}. */
export interface LoadOptions {
  /** End tokens that the model's other files name; the tokenizer's own are added. */
  endTokens?: readonly number[];
  /** A template that overrules the tokenizer's. */
  chatTemplate?: string | null;
  /** Rows of the model: added tokens past them are left out, other tokens are a failure. */
  vocabulary?: number;
  /** For templates that write the date. */
  now?: () => Date;
  /** Texts of at least so many characters go to the worker. */
  workerThreshold?: number;
}

/**
 * A text of this length takes the event loop 2 to 4 ms. The worker's answer comes 0.1 ms later than an
 * inline one, its first one 60 ms later.
 */
const WORKER_THRESHOLD = 16 * 1024;

/**
 * Reads a tokenizer and its chat template.
 * @throws {Failure} kind `model` naming what is wrong or not supported.
 */
// deno-lint-ignore require-await -- a promise, so that reading may become asynchronous
export async function loadTextProcessor(
  source: TokenizerSource,
  options: LoadOptions = {},
): Promise<TextProcessor> {
  try {
    return new LoadedTextProcessor(read(source, options.vocabulary), options);
  } catch (error) {
    if (error instanceof Failure) throw error;
    // Whatever a damaged file provokes (nesting too deep, a list too long) is the file's failure.
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure("model", `The model's tokenizer cannot be read: ${why}.`, { cause: error });
  }
}

function read(source: TokenizerSource, vocabulary: number | undefined): LoadedTokenizer {
  const rows = vocabulary ?? Infinity;
  switch (source.kind) {
    case "huggingface":
      return readHuggingFace(source.tokenizerJson, source.tokenizerConfigJson, rows);
    case "gguf":
      return readGguf(source.metadata, rows);
    case "bytes":
      return byteTokenizer();
  }
}

class LoadedTextProcessor implements TextProcessor {
  readonly tokenizer: SpecTokenizer;
  readonly info: TokenizerInfo;
  readonly toolDialect: DialectName;
  /** The template shows tools itself. */
  readonly #showsTools: boolean;
  readonly #chat: ChatRenderer;
  readonly #worker: WorkerClient | null;
  readonly #threshold: number;
  readonly #rendersInWorker: boolean;

  constructor(loaded: LoadedTokenizer, options: LoadOptions) {
    const ends = new Set([...(options.endTokens ?? []), ...loaded.endTokens]);
    this.tokenizer = new SpecTokenizer(loaded.spec, [...ends]);
    const templates = templateSources(loaded.templates, options);
    const chat: ChatSource = { templates, variables: loaded.variables };
    this.info = {
      bosToken: loaded.variables.bos_token ?? null,
      eosToken: loaded.variables.eos_token ?? null,
      chatTemplate: templates.get("default") ?? null,
    };
    const forTools = templates.get("tool_use") ?? this.info.chatTemplate;
    this.toolDialect = dialectOf(forTools);
    this.#showsTools = mentionsTools(forTools);
    this.#chat = chatRenderer(chat, loaded.spec.added, options.now);
    // A clock of the caller's own stays here.
    this.#rendersInWorker = options.now === undefined;
    this.#threshold = options.workerThreshold ?? WORKER_THRESHOLD;
    this.#worker = workerAllowed() ? new WorkerClient({ spec: loaded.spec, chat }) : null;
  }

  get hasChatTemplate(): boolean {
    return this.#chat.hasTemplate;
  }

  // deno-lint-ignore require-await -- a failure of the template is a rejection
  async encodeChat(
    messages: readonly ChatMessage[],
    options?: ChatOptions,
  ): Promise<Int32Array> {
    const [shown, others] = this.#shown(messages, options);
    if (this.#worker && this.#rendersInWorker) {
      const size = sizeOfChat(shown, others);
      if (size >= this.#threshold) return this.#worker.encodeChat(shown, others, size);
    }
    const { text, markers } = this.#chat.render(shown, others);
    return this.#encode(text, howOfChat(markers));
  }

  renderChat(messages: readonly ChatMessage[], options?: ChatOptions): string {
    return this.#chat.renderText(...this.#shown(messages, options));
  }

  #shown(
    messages: readonly ChatMessage[],
    options: ChatOptions = {},
  ): [readonly ChatMessage[], ChatOptions] {
    const { tools = [], ...others } = options;
    if (tools.length === 0 || this.#showsTools) return [messages, options];
    // Refuses what is nested too deep, before it becomes a text.
    sizeOfChat(messages, options);
    return [withInstructions(messages, tools), others];
  }

  // deno-lint-ignore require-await -- short texts are encoded at once
  async encode(text: string, options?: EncodeOptions): Promise<Int32Array> {
    return this.#encode(text, encodeHow(options));
  }

  close(): void {
    this.#worker?.close();
  }

  #encode(text: string, how: EncodeHow): Int32Array | Promise<Int32Array> {
    return this.#worker && text.length >= this.#threshold
      ? this.#worker.encode(text, how)
      : this.tokenizer.encodeWith(text, how);
  }
}

function templateSources(
  found: ReadonlyMap<string, string>,
  { chatTemplate }: LoadOptions,
): Map<string, string> {
  const sources = chatTemplate == null ? found : new Map([["default", chatTemplate]]);
  return new Map([...sources].filter(([, source]) => source.trim() !== ""));
}
