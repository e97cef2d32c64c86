// SPDX-License-Identifier: Apache-2.0
/** The bearer key. */
import { ApiError } from "./errors.ts";

/** Throws a 401 unless the request carries the key. */
export function authorize(request: Request, key: string): void {
  const given = /^Bearer +(.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  if (given !== undefined && sameSecret(given.trim(), key)) return;
  const message = given === undefined
    ? "This server wants its API key in an Authorization: Bearer header"
    : "The API key is wrong";
  throw new ApiError(401, message, {
    code: "invalid_api_key",
    headers: { "www-authenticate": 'Bearer realm="sounder"' },
  });
}

/** Takes the same time wherever the two differ. */
function sameSecret(given: string, expected: string): boolean {
  // A header's characters are its bytes; clients that can send other than ASCII send UTF-8.
  const a = Uint8Array.from(given, (byte) => byte.charCodeAt(0));
  const b = new TextEncoder().encode(expected);
  let difference = a.length ^ b.length;
  for (let i = 0; i < b.length; i++) difference |= (a[i % a.length] ?? 0) ^ b[i]!;
  return difference === 0;
}
