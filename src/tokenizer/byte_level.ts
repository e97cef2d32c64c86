// SPDX-License-Identifier: Apache-2.0
/**
 * The alphabet of byte-level BPE: every byte is written as a printable character in `tokenizer.json` and
 * GGUF. Printable Latin-1 bytes stand for themselves, the others for U+0100 and up, in order.
 */

const CHARACTER_OF_BYTE: string[] = [];
/** Byte of each character, -1 for characters outside the alphabet. */
const BYTE_OF_CODE = new Int16Array(0x144).fill(-1);

for (let byte = 0, moved = 0x100; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const code = printable ? byte : moved++;
  CHARACTER_OF_BYTE.push(String.fromCharCode(code));
  BYTE_OF_CODE[code] = byte;
}

/** The character that a byte is written as. */
export function characterOfByte(byte: number): string {
  return CHARACTER_OF_BYTE[byte]!;
}

/**
 * Writes the bytes that a token stands for, one number each; returns how many, or -1 when the token has a
 * character outside the alphabet.
 */
export function writeBytesOfToken(token: string, target: Int32Array): number {
  for (let i = 0; i < token.length; i++) {
    const code = token.charCodeAt(i);
    const byte = code < BYTE_OF_CODE.length ? BYTE_OF_CODE[code]! : -1;
    if (byte < 0) return -1;
    target[i] = byte;
  }
  return token.length;
}
