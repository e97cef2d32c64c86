// SPDX-License-Identifier: Apache-2.0
/** The store of a server's sessions, from its flags and its model. */
import type { Engine } from "../engine/engine.ts";
import type { EngineSettings } from "../engine/settings.ts";
import type { ModelSource } from "../model/model.ts";
import { identityOf } from "./identity.ts";
import { samplingText } from "./note.ts";
import { SessionStore } from "./store.ts";

/** null: no `--sessions`. @throws {Failure} kind `invalid` when the folder cannot be used */
export async function openSessions(
  flags: { sessions: string | null; sessionsBytes: number },
  model: { source: ModelSource; settings: EngineSettings; engine: Engine },
  log: (line: string) => void,
): Promise<SessionStore | null> {
  const { source, settings, engine } = model;
  if (flags.sessions === null) return null;
  return await SessionStore.open({
    path: flags.sessions,
    limitBytes: flags.sessionsBytes,
    engine,
    identity: await identityOf(source, settings.dummySeed),
    sampling: samplingText(settings.index),
    log,
  });
}
