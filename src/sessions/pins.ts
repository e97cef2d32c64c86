// SPDX-License-Identifier: Apache-2.0
/** Which prompts belong to which named session: those of the last requests, as long as they may matter. */
import { commonTokens } from "./chain.ts";
import { keyOf, type SessionName } from "./id.ts";

const MOST_PINS = 256;

interface Pin extends SessionName {
  prompt: Int32Array;
}

export class Pins {
  /** The oldest first. */
  readonly #pins = new Map<string, Pin>();

  set(name: SessionName, prompt: Int32Array): void {
    this.delete(name);
    this.#pins.set(keyOf(name), { ...name, prompt });
    if (this.#pins.size <= MOST_PINS) return;
    const [oldest] = this.#pins.keys();
    this.#pins.delete(oldest!);
  }

  get(name: SessionName): Int32Array | null {
    return this.#pins.get(keyOf(name))?.prompt ?? null;
  }

  delete(name: SessionName): void {
    this.#pins.delete(keyOf(name));
  }

  /** The id of the session whose prompt, but for its last token, these begin with; of several, the longest. */
  find(scope: string, tokens: Int32Array): string | null {
    let found: Pin | null = null;
    for (const pin of this.#pins.values()) {
      if (pin.scope !== scope || pin.prompt.length <= (found?.prompt.length ?? 0)) continue;
      if (commonTokens(pin.prompt, tokens) >= pin.prompt.length - 1) found = pin;
    }
    return found?.id ?? null;
  }
}
