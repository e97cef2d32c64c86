// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { keysOf } from "../../src/keys.ts";
import { createLog, type LogFormat } from "../../src/log.ts";

function written(format: LogFormat, quiet = false): string[] {
  const lines: string[] = [];
  const log = createLog(format, quiet, (line) => lines.push(line), () => new Date(0));
  log.info("Ready.\nTry it.");
  log.error("It broke.");
  log.request({ id: "req_1", status: 200 }, "POST / 200");
  return lines;
}

Deno.test("text is for people: requests get the time", () => {
  assertEquals(written("text"), [
    "Ready.\nTry it.",
    "It broke.",
    "1970-01-01T00:00:00.000Z POST / 200",
  ]);
});

Deno.test("with JSON every line is one object, also of messages with several lines", () => {
  assertEquals(written("json").map((line) => JSON.parse(line)), [
    {
      time: "1970-01-01T00:00:00.000Z",
      level: "info",
      event: "server",
      message: "Ready.\nTry it.",
    },
    { time: "1970-01-01T00:00:00.000Z", level: "error", event: "server", message: "It broke." },
    { time: "1970-01-01T00:00:00.000Z", level: "info", event: "request", id: "req_1", status: 200 },
  ]);
});

Deno.test("quiet leaves requests out and nothing else", () => {
  assertEquals(written("text", true), ["Ready.\nTry it.", "It broke."]);
  assertEquals(written("json", true).length, 2);
});

Deno.test("a file of keys has one a line; one without any is refused and does not open the server", () => {
  assertEquals(keysOf("# ours\r\nsk-a\n\n  sk-b  \n", "keys"), ["sk-a", "sk-b"]);
  for (const text of ["", "\n\n", "# sk-a\n"]) {
    assertThrows(() => keysOf(text, "keys.txt"), Failure, "keys.txt has none");
  }
});
