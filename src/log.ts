// SPDX-License-Identifier: Apache-2.0
/** What the server says while it runs: lines for people, or one JSON object a line. */

export type LogFormat = "text" | "json";

export interface Log {
  readonly format: LogFormat;
  /** What the server is doing. */
  info(message: string): void;
  /** What went wrong in it. */
  error(message: string): void;
  /** A request that ended: `fields` for machines, `text` for people. */
  request(fields: object, text: string): void;
}

/** `quiet`: no lines about requests. */
export function createLog(
  format: LogFormat,
  quiet: boolean,
  write: (line: string) => void = (line) => console.error(line),
  now: () => Date = () => new Date(),
): Log {
  const json = (level: string, event: string, fields: object) =>
    write(JSON.stringify({ time: now().toISOString(), level, event, ...fields }));
  const say = (level: string) => (message: string) =>
    format === "json" ? json(level, "server", { message }) : write(message);
  return {
    format,
    info: say("info"),
    error: say("error"),
    request(fields, text) {
      if (quiet) return;
      if (format === "json") json("info", "request", fields);
      else write(`${now().toISOString()} ${text}`);
    },
  };
}
