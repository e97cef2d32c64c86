// SPDX-License-Identifier: Apache-2.0
/**
 * `/sessions`: contexts on disk under names. A request belongs to one by `"sounder": {"session": "name"}`; saving
 * it writes what that request left in memory, prompt and answer. A key sees its own sessions only.
 */
import type { SessionInfo } from "../src/types.ts";
import type { Context, Deps, Handler } from "./context.ts";

function shown(session: SessionInfo): Record<string, unknown> {
  return {
    id: session.id,
    object: "session",
    tokens: session.tokens,
    bytes: session.bytes,
    saved_at: Math.floor(session.savedAt / 1000),
    used_at: Math.floor(session.usedAt / 1000),
    // Why it can't be restored: damaged, or of another model.
    problem: session.problem,
  };
}

function nameOf(c: Context) {
  return { scope: c.get("cacheScope"), id: c.req.param("id") ?? "" };
}

/** `GET /sessions` */
export function listSessions({ service }: Deps): Handler {
  return (c) => {
    const data = service.sessions().list(c.get("cacheScope")).map(shown);
    return c.json({ object: "list", data });
  };
}

/** `GET /sessions/{id}` */
export function showSession({ service }: Deps): Handler {
  return (c) => c.json(shown(service.sessions().find(nameOf(c))));
}

/** `POST /sessions/{id}`: saves it now. */
export function saveSession({ service }: Deps): Handler {
  return async (c) => c.json(shown(await service.sessions().save(nameOf(c))));
}

/** `POST /sessions/{id}/load`: brings it into memory before a request asks for it. */
export function loadSession({ service }: Deps): Handler {
  return async (c) => c.json(shown(await service.sessions().load(nameOf(c))));
}

/** `DELETE /sessions/{id}` */
export function deleteSession({ service }: Deps): Handler {
  return async (c) => {
    const name = nameOf(c);
    await service.sessions().delete(name);
    return c.json({ id: name.id, object: "session.deleted", deleted: true });
  };
}
