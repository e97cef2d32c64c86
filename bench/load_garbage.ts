// SPDX-License-Identifier: Apache-2.0
/** Requests that nobody should send, and the status that each deserves. */

export interface Garbage {
  path: string;
  body: string | Uint8Array<ArrayBuffer>;
  status: number;
}

const COMPLETIONS = "/v1/completions";
const CHAT = "/v1/chat/completions";

function completion(status: number, fields: Record<string, unknown>): Garbage {
  const body = JSON.stringify({ prompt: "A lamp", max_tokens: 4, ...fields });
  return { path: COMPLETIONS, body, status };
}

function chat(status: number, messages: unknown, fields: Record<string, unknown> = {}): Garbage {
  return { path: CHAT, body: JSON.stringify({ messages, max_tokens: 4, ...fields }), status };
}

const HELLO = [{ role: "user", content: "hello" }];

/** For a model of recall's context and vocabulary; unknown fields are ignored, as OpenAI's clients need it. */
export const GARBAGE: readonly Garbage[] = [
  { path: COMPLETIONS, body: '{"model": "recall", "prompt": ', status: 400 },
  { path: COMPLETIONS, body: new Uint8Array([0x7b, 0x22, 0xff, 0xfe]), status: 400 },
  { path: COMPLETIONS, body: "[1, 2]", status: 400 },
  { path: COMPLETIONS, body: "", status: 400 },
  { path: COMPLETIONS, body: "[".repeat(1000), status: 400 },
  { path: "/v1/no_such_route", body: "{}", status: 404 },
  completion(400, { prompt: { a: 1 } }),
  completion(400, { prompt: [1, 99_999_999] }),
  completion(400, { prompt: Array(40_000).fill(7) }),
  completion(400, { max_tokens: "many" }),
  completion(400, { temperature: -1 }),
  completion(404, { model: "no-such-model" }),
  completion(200, { no_such_field: { deep: [1, 2] } }),
  chat(400, "hello"),
  chat(400, []),
  chat(400, [{ role: "king", content: "hello" }]),
  chat(400, HELLO, { response_format: { type: "json_schema", json_schema: { name: 1 } } }),
  chat(200, [{ ...HELLO[0], colour: "red" }], { no_such_field: {} }),
];
