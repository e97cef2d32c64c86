// SPDX-License-Identifier: Apache-2.0
/** `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`, for clients of vLLM and of llama.cpp. */
import type { Service } from "../src/types.ts";
import type { Deps, Handler } from "./context.ts";
import { invalid } from "./errors.ts";
import { readAsked } from "./models.ts";
import { parseDetokenize, parseTokenize, type TokenizeBody } from "./schemas/tokenize.ts";

/** Text or messages to tokens. */
export function tokenize(deps: Deps): Handler {
  const { service } = deps;
  return async (c) => {
    const { model, body } = await readAsked(c, deps, parseTokenize);
    if ("messages" in body.source && !model.hasChatTemplate) {
      throw invalid("messages", "This model has no chat template: send prompt instead");
    }
    const tokens = await encode(service, body.source);
    return c.json({
      count: tokens.length,
      max_model_len: model.contextTokens,
      tokens: body.withPieces ? pieces(service, tokens) : [...tokens],
      token_strs: body.withStrings ? strings(service, tokens) : null,
    });
  };
}

/** Tokens to text; special tokens are written out. */
export function detokenize(deps: Deps): Handler {
  const { service } = deps;
  return async (c) => {
    const { body: tokens } = await readAsked(c, deps, parseDetokenize);
    const text = service.decode(tokens);
    return c.json({ prompt: text, content: text });
  };
}

/** What a client needs that tokenizes here but renders templates itself, as lm-evaluation-harness does. */
export function tokenizerInfo({ service }: Deps): Handler {
  return (c) => {
    const { bosToken, eosToken, chatTemplate } = service.tokenizerInfo();
    return c.json({
      bos_token: bosToken,
      eos_token: eosToken,
      chat_template: chatTemplate,
      model_max_length: service.model().contextTokens,
    });
  };
}

function encode(service: Service, source: TokenizeBody["source"]): Promise<Int32Array> {
  if ("messages" in source) return service.encodeChat(source.messages, source.template);
  const { text, addSpecial, parseSpecial } = source;
  return service.encodeText(text, { addSpecial, parseSpecial });
}

function strings(service: Service, tokens: Int32Array): string[] {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return Array.from(tokens, (token) => decoder.decode(service.tokenBytes(token)));
}

/** llama.cpp's pieces: a text, or bytes where a token is no whole text. */
function pieces(service: Service, tokens: Int32Array): { id: number; piece: string | number[] }[] {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return Array.from(tokens, (id) => {
    const bytes = service.tokenBytes(id);
    try {
      return { id, piece: decoder.decode(bytes) };
    } catch {
      return { id, piece: [...bytes] };
    }
  });
}
