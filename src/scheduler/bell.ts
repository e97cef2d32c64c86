// SPDX-License-Identifier: Apache-2.0
/** Wakes a loop that sleeps; rung while it is awake, the loop's next sleep ends at once. */
export class Bell {
  #rung = false;
  #wake: (() => void) | null = null;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** What was rung for until now is being looked at. */
  hear(): void {
    this.#rung = false;
  }

  async sleep(): Promise<void> {
    if (!this.#rung) await new Promise<void>((resolve) => this.#wake = resolve);
    this.#wake = null;
  }
}
