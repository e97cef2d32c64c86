// SPDX-License-Identifier: Apache-2.0
import type { ByteSource } from "../../../src/model/bytes.ts";

/** Bytes in memory, of which the first may stand for a longer file. */
export class MemorySource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #bytes: Uint8Array;

  /** @param size of the file that `bytes` begins; bytes past them read as zero */
  constructor(name: string, bytes: Uint8Array, size: number = bytes.length) {
    this.name = name;
    this.size = size;
    this.#bytes = bytes;
  }

  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new RangeError(`read of ${length} bytes at ${offset} of ${this.size}`);
    }
    const bytes = new Uint8Array(length);
    bytes.set(this.#bytes.subarray(offset, offset + length));
    return bytes;
  }
}
