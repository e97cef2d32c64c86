// SPDX-License-Identifier: Apache-2.0
/** The mean of a prompt's hidden states, as its chunks are run. */

export class PromptEmbedding {
  readonly #tokens: number;
  #sum = new Float64Array();

  /** Of a prompt of so many tokens. */
  constructor(tokens: number) {
    this.#tokens = tokens;
  }

  /** The sum from position `start` on. A prompt whose KV was given up starts over. */
  add(start: number, sum: Float32Array): void {
    if (start === 0) this.#sum = new Float64Array(sum.length);
    for (let i = 0; i < sum.length; i++) this.#sum[i]! += sum[i]!;
  }

  mean(): Float32Array {
    return Float32Array.from(this.#sum, (sum) => sum / this.#tokens);
  }
}
