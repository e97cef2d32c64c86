// SPDX-License-Identifier: Apache-2.0
/** Walks through the head of a GGUF file in windows, so that only what is kept takes memory. */
import { type ByteSource, fileFailure } from "./bytes.ts";

const WINDOW_BYTES = 1 << 18;
/** Strings that are decoded in one go: calls of the decoder cost more than short texts. */
const STRINGS_AT_ONCE = 4096;
/** Longest single string; chat templates take some 10 KiB. */
const MAX_STRING_BYTES = 64 << 20;

const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });
const STRICT_UTF8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Reads little-endian values one after another. Every length is checked against what the file has left. */
export class GgufCursor {
  readonly #source: ByteSource;
  #window: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view = new DataView(this.#window.buffer);
  /** Place of the window in the file, and of the next byte in the window. */
  #start = 0;
  #at = 0;
  /** What is being read, for messages. */
  what = "its head";

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Bytes from the start of the file. */
  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes that the file has left. */
  get left(): number {
    return this.#source.size - this.position;
  }

  /** @returns where the next `length` bytes lie in the window, and steps over them */
  #take(length: number): number {
    if (this.#at + length > this.#window.length) this.#slide(length);
    this.#at += length;
    return this.#at - length;
  }

  /** Moves the window to start at the next byte, with `length` bytes or more. */
  #slide(length: number): void {
    if (length > this.left) {
      throw fileFailure(
        this.#source.name,
        `ends in the middle of ${this.what}: it is cut off or damaged. Download it again.`,
      );
    }
    this.#start += this.#at;
    const size = Math.min(Math.max(length, WINDOW_BYTES), this.#source.size - this.#start);
    this.#window = this.#source.read(this.#start, size);
    this.#view = new DataView(this.#window.buffer);
    this.#at = 0;
  }

  /** A value of `bytes` bytes that `read` takes out of a view. */
  value<T>(bytes: number, read: (view: DataView, at: number) => T): T {
    const at = this.#take(bytes);
    return read(this.#view, at);
  }

  u32(): number {
    return this.value(4, (view, at) => view.getUint32(at, true));
  }

  u64(): bigint {
    return this.value(8, (view, at) => view.getBigUint64(at, true));
  }

  /** A 64-bit count of things that take at least `bytesEach` bytes of what the file has left. */
  count(bytesEach: number): number {
    const count = this.u64();
    if (count > BigInt(Math.floor(this.left / bytesEach))) {
      throw fileFailure(
        this.#source.name,
        `${this.what} counts ${count} entries, more than the file can hold: it is cut off or damaged.`,
      );
    }
    return Number(count);
  }

  /** A copy of the next bytes. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const at = this.#take(length);
    return this.#window.slice(at, at + length);
  }

  #stringLength(): number {
    const at = this.#take(8);
    const length = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
    if (length > MAX_STRING_BYTES) {
      throw fileFailure(
        this.#source.name,
        `${this.what} has a text of ${length} bytes: it is damaged.`,
      );
    }
    return length;
  }

  /** A string; what is not UTF-8 becomes U+FFFD. */
  string(): string {
    const length = this.#stringLength();
    const at = this.#take(length);
    return UTF8.decode(this.#window.subarray(at, at + length));
  }

  /** `count` strings. Vocabularies have some 100,000, so they are decoded many at a time. */
  strings(count: number): string[] {
    const texts: string[] = [];
    const ends = new Uint32Array(Math.min(count, STRINGS_AT_ONCE));
    let joined = new Uint8Array(16 * ends.length);
    while (texts.length < count) {
      const batch = Math.min(STRINGS_AT_ONCE, count - texts.length);
      let end = 0;
      for (let i = 0; i < batch; i++) {
        const length = this.#stringLength();
        const at = this.#take(length);
        if (end + length > joined.length) {
          const larger = new Uint8Array(Math.max(2 * joined.length, end + length));
          larger.set(joined.subarray(0, end));
          joined = larger;
        }
        const window = this.#window;
        for (let k = 0; k < length; k++) joined[end + k] = window[at + k]!;
        end += length;
        ends[i] = end;
      }
      splitStrings(joined, ends.subarray(0, batch), texts);
    }
    return texts;
  }
}

/** Decodes texts that lie side by side in `bytes`, text i up to `ends[i]`. */
function splitStrings(bytes: Uint8Array, ends: Uint32Array, texts: string[]): void {
  const whole = decodeIfEachIsWhole(bytes, ends);
  let byte = 0, unit = 0;
  for (const end of ends) {
    if (whole === null) {
      texts.push(UTF8.decode(bytes.subarray(byte, end)));
      byte = end;
      continue;
    }
    const from = unit;
    // UTF-16 units: one for each byte that starts a character, two for those of four bytes.
    for (; byte < end; byte++) {
      const value = bytes[byte]!;
      if ((value & 0xc0) !== 0x80) unit += value >= 0xf0 ? 2 : 1;
    }
    texts.push(whole.slice(from, unit));
  }
}

/** All texts as one string, or null when one of them is not UTF-8 by itself. */
function decodeIfEachIsWhole(bytes: Uint8Array, ends: Uint32Array): string | null {
  const last = ends[ends.length - 1]!;
  for (const end of ends) {
    if (end < last && (bytes[end]! & 0xc0) === 0x80) return null;
  }
  try {
    return STRICT_UTF8.decode(bytes.subarray(0, last));
  } catch {
    return null;
  }
}
