// SPDX-License-Identifier: Apache-2.0
/** A program that works a little for each line it is sent, so that programs can take turns on a machine. */
export class TurnTaker {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(command: string, args: string[], env: Record<string, string> = {}) {
    this.#child = new Deno.Command(command, {
      args,
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.getReader();
  }

  async send(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  /** The next line it prints; null when it has ended. */
  async line(): Promise<string | null> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { value, done } = await this.#output.read();
      if (done) return null;
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  /** Lets it end, and says whether it did so well. */
  async end(): Promise<boolean> {
    await this.#input.close().catch(() => {}); // it may have ended by itself
    while (await this.line() !== null);
    return (await this.#child.status).success;
  }
}
