// SPDX-License-Identifier: Apache-2.0
/** API keys: who may ask, and with whom a request may share cached KV. */
import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "./errors.ts";

/** Of requests that share their cache with everyone. */
export const SHARED_SCOPE = "";

interface Key {
  digest: Uint8Array;
  scope: string;
}

/** The keys of a server. */
export class ApiKeys {
  readonly #keys: readonly Key[];
  readonly #sharedCache: boolean;

  /** No keys: everybody may ask. `sharedCache`: requests share KV whatever their key. */
  constructor(keys: readonly string[], sharedCache: boolean) {
    this.#keys = keys.map((key) => {
      const bytes = new TextEncoder().encode(key);
      return { digest: sha256(bytes), scope: scopeOf(bytes) };
    });
    this.#sharedCache = sharedCache;
  }

  /** Throws a 401 unless the request carries a key. @returns the scope of its cache */
  authorize(request: Request): string {
    if (this.#keys.length === 0) return SHARED_SCOPE;
    const given = keyOf(request.headers);
    const key = given === null ? null : this.#find(given);
    if (key === null) throw refused(given !== null);
    return this.#sharedCache ? SHARED_SCOPE : key.scope;
  }

  /** Compares with every key, each in the same time wherever the two differ and however long they are. */
  #find(given: Uint8Array): Key | null {
    const digest = sha256(given);
    let found: Key | null = null;
    for (const key of this.#keys) if (timingSafeEqual(key.digest, digest)) found = key;
    return found;
  }
}

/** OpenAI's header, or Anthropic's. */
function keyOf(headers: Headers): Uint8Array | null {
  const bearer = /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  const given = bearer ?? headers.get("x-api-key");
  if (given === null) return null;
  // A header's characters are its bytes; clients that can send other than ASCII send UTF-8.
  return Uint8Array.from(given.trim(), (byte) => byte.charCodeAt(0));
}

function refused(given: boolean): ApiError {
  const message = given
    ? "The API key is wrong"
    : "This server wants its API key in an Authorization: Bearer header";
  return new ApiError(401, message, {
    code: "invalid_api_key",
    headers: { "www-authenticate": 'Bearer realm="sounder"' },
  });
}

function sha256(...parts: (Uint8Array | string)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The same after a restart, and says nothing of the key. */
function scopeOf(key: Uint8Array): string {
  return sha256("sounder cache scope\n", key).slice(0, 16).toHex();
}
