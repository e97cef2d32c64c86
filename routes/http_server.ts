// SPDX-License-Identifier: Apache-2.0
/** Listens, and goes on listening: Deno's server ends when it can't accept, as without file descriptors. */

/** Between two tries to listen again. */
const RETRY_MS = 200;

/** Where to listen. */
export interface Address {
  hostname: string;
  /** 0: a free one. */
  port: number;
}

export class HttpServer {
  readonly #handler: Deno.ServeHandler<Deno.NetAddr>;
  readonly #hostname: string;
  readonly #log: (line: string) => void;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #closing = false;

  /** Throws what `Deno.serve` throws. */
  constructor(
    handler: Deno.ServeHandler<Deno.NetAddr>,
    { hostname, port }: Address,
    log: (line: string) => void,
  ) {
    this.#handler = handler;
    this.#hostname = hostname;
    this.#log = log;
    this.#server = this.#listen(port);
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** Accepts no more; resolves when the last answer has gone out. */
  async shutdown(): Promise<void> {
    this.#closing = true;
    // One that could not go on accepting has ended, and says so again.
    await this.#server.shutdown().catch(() => {});
  }

  #listen(port: number): Deno.HttpServer<Deno.NetAddr> {
    const options = { hostname: this.#hostname, port, onListen: () => {} };
    const server = Deno.serve(options, this.#handler);
    server.finished.catch((error) => this.#ended(server.addr.port, error));
    return server;
  }

  async #ended(port: number, error: unknown): Promise<void> {
    const message = error instanceof Error ? error.message : String(error);
    this.#log(`Cannot accept connections: ${message}. Trying again.`);
    while (!this.#closing) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      try {
        if (!this.#closing) this.#server = this.#listen(port);
        return;
      } catch {
        // Still none.
      }
    }
  }
}
