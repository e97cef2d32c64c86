// SPDX-License-Identifier: Apache-2.0
/** Installs and runs the peer, llama.cpp, in a folder of its own under build/. */
import { TurnTaker } from "./turns.ts";

const INSTALL = decodeURIComponent(new URL("../build/peer", import.meta.url).pathname);
const SCRIPT = decodeURIComponent(new URL("./llama_cpp.mjs", import.meta.url).pathname);
const SERVER = decodeURIComponent(new URL("./llama_server.mjs", import.meta.url).pathname);
export const VERSION = "3.22.1";

/** One figure of the peer. */
export interface PeerFigure {
  kind: "prefill" | "decode";
  tokens: number;
  flashAttention: boolean;
  perSecond: number;
}

async function run(command: string, args: string[]): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args, stderr: "inherit" })
      .output();
    return success ? new TextDecoder().decode(stdout) : null;
  } catch {
    return null;
  }
}

async function install(): Promise<boolean> {
  const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/linux-x64@${VERSION}`];
  const options = ["--ignore-scripts", "--omit=optional", "--silent", "--no-save"];
  await Deno.mkdir(INSTALL, { recursive: true });
  await Deno.writeTextFile(`${INSTALL}/package.json`, "{}");
  return await run("npm", ["install", "--prefix", INSTALL, ...options, ...packages]) !== null;
}

/**
 * Prefill and decode speed of llama.cpp on a GGUF file, with and without flash attention (which of them
 * is faster depends on length and machine). null, with a sentence on stderr, when it cannot run here.
 */
export async function measureLlamaCpp(
  model: string,
  threads: number,
  lengths: readonly number[],
): Promise<PeerFigure[] | null> {
  if (!await install()) {
    console.error("llama.cpp is not measured: Node and npm are needed to install node-llama-cpp.");
    return null;
  }
  const text = await run("node", [SCRIPT, INSTALL, model, String(threads), ...lengths.map(String)]);
  if (text === null) {
    console.error("llama.cpp is not measured: it failed (message above).");
    return null;
  }
  return text.trim().split("\n").filter((line) => line.startsWith("{")).map((l) => JSON.parse(l));
}

/** llama.cpp as an HTTP server (llama_server.mjs). */
export class LlamaServer implements AsyncDisposable {
  readonly #process: TurnTaker;
  readonly url: string;

  private constructor(process: TurnTaker, url: string) {
    this.#process = process;
    this.url = url;
  }

  /** null, with a sentence on stderr, when it cannot run here. */
  static async start(
    model: string,
    { threads, sequences, context }: { threads: number; sequences: number; context: number },
  ): Promise<LlamaServer | null> {
    if (!await install()) {
      console.error("llama.cpp does not serve: Node and npm are needed for node-llama-cpp.");
      return null;
    }
    const numbers = [threads, sequences, context].map(String);
    const process = new TurnTaker("node", [SERVER, INSTALL, model, ...numbers]);
    const url = await process.line();
    if (url !== null) return new LlamaServer(process, url);
    console.error("llama.cpp does not serve: it failed (message above).");
    return null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.end();
  }
}
