// SPDX-License-Identifier: Apache-2.0
/**
 * Names of sessions and of their files. An id can never become a path: it has no separator and does not begin
 * with a dot. Sessions of different scopes (API keys) with the same id are different files.
 */
import { Failure } from "../errors.ts";

/** Begins the ids that the server gives. */
export const AUTOMATIC = "auto-";

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SCOPE = /^[0-9a-f]{0,64}$/;
const SUFFIX = ".session";

/** A session's name and whose it is. */
export interface SessionName {
  scope: string;
  id: string;
}

/** @throws {Failure} kind `invalid`; `param` is the request's field. */
export function requireId(id: string, param: string): string {
  if (ID.test(id)) return id;
  throw new Failure(
    "invalid",
    `${param} must be 1 to 64 letters, digits, ".", "_" or "-" and begin with a letter or digit`,
    { param },
  );
}

/** As {@linkcode requireId}, for sessions that clients name: the server's own names are taken. */
export function requireOwnId(id: string, param: string): string {
  requireId(id, param);
  if (!isAutomatic(id)) return id;
  throw new Failure(
    "invalid",
    `${param} must not begin with "${AUTOMATIC}": such sessions are the server's own`,
    { param },
  );
}

export function isAutomatic(id: string): boolean {
  return id.startsWith(AUTOMATIC);
}

/** What sessions are told apart by. */
export function keyOf({ scope, id }: SessionName): string {
  return `${scope}/${id}`;
}

/** The name of a session's file in its folder. */
export function fileNameOf({ scope, id }: SessionName): string {
  if (!ID.test(id) || !SCOPE.test(scope)) throw new RangeError(`Cannot name a file after "${id}".`);
  return `${id}${scope === "" ? "" : `@${scope}`}${SUFFIX}`;
}

/** The session that a file holds; null: it is none. */
export function nameOfFile(file: string): SessionName | null {
  if (!file.endsWith(SUFFIX)) return null;
  const [id = "", scope = "", ...rest] = file.slice(0, -SUFFIX.length).split("@");
  return ID.test(id) && SCOPE.test(scope) && rest.length === 0 ? { id, scope } : null;
}
