// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { CompletionLogprobWriter, promptLogprobs } from "../../routes/logprobs.ts";
import { tokenInfo } from "../fixtures/fake_service.ts";

Deno.test("offsets of an echo: SentencePiece's first space and BOS are no part of the text", () => {
  const writer = new CompletionLogprobWriter(0);
  const tokens = ["<s>", " Hello", " world"].map((text, i) => tokenInfo(i, text));
  assertEquals(writer.prompt(tokens, "Hello world").text_offset, [0, 0, 5]);
  assertEquals(writer.generated([tokenInfo(3, "!"), tokenInfo(4, "?")]).text_offset, [11, 12]);
});

Deno.test("offsets of an echo: a special token that the author wrote is part of the text", () => {
  const writer = new CompletionLogprobWriter(0);
  const tokens = ["<s>", "<s>", "a"].map((text, i) => tokenInfo(i, text));
  assertEquals(writer.prompt(tokens, "<s>a").text_offset, [0, 3, 3]);
});

Deno.test("a byte order mark counts as the character that it is", () => {
  const writer = new CompletionLogprobWriter(0);
  const tokens = ["\ufeff", "a"].map((text, i) => tokenInfo(i, text));
  assertEquals(writer.generated(tokens).text_offset, [0, 1]);
});

Deno.test("prompt_logprobs: the likeliest tokens with their ranks, and the token itself wherever it ranks", () => {
  const likely = tokenInfo(97, "a", -0.5, 3);
  const unlikely = { ...likely, token: 200, text: "z", logprob: -9 };
  assertEquals(promptLogprobs([tokenInfo(5, "<s>", null), likely, unlikely], 1), [
    null,
    { "97": { logprob: -0.5, rank: 1, decoded_token: "a" } },
    {
      "97": { logprob: -0.5, rank: 1, decoded_token: "a" },
      "200": { logprob: -9, rank: null, decoded_token: "z" },
    },
  ]);
  assertEquals(Object.keys(promptLogprobs([unlikely], 0)[0]!), ["200"]);
});

Deno.test("minus infinity and NaN become -9999", () => {
  const writer = new CompletionLogprobWriter(1);
  const { token_logprobs, top_logprobs } = writer.generated([
    tokenInfo(1, "a", -Infinity),
    tokenInfo(2, "b", NaN),
  ]);
  assertEquals(token_logprobs, [-9999, -9999]);
  assertEquals(top_logprobs, [{ a: -9999 }, { b: -9999 }]);
});
