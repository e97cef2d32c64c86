// SPDX-License-Identifier: Apache-2.0
/** UTF-8 without a call into the runtime: pieces are short, and a call costs more than their bytes. */

/** Writes the UTF-8 of a well-formed text into `target`, which must have room for 3 numbers a unit. */
export function writeUtf8(text: string, target: Int32Array): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code < 0x80) {
      target[length++] = code;
      continue;
    }
    if (code < 0x800) {
      target[length++] = 0xc0 | (code >> 6);
    } else {
      if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00);
        target[length++] = 0xf0 | (code >> 18);
        target[length++] = 0x80 | ((code >> 12) & 0x3f);
      } else {
        target[length++] = 0xe0 | (code >> 12);
      }
      target[length++] = 0x80 | ((code >> 6) & 0x3f);
    }
    target[length++] = 0x80 | (code & 0x3f);
  }
  return length;
}
