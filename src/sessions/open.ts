// SPDX-License-Identifier: Apache-2.0
/** The store of a server's sessions, from its flags and its model. */
import type { Engine } from "../engine/engine.ts";
import type { EngineSettings } from "../engine/settings.ts";
import type { ModelSource } from "../model/model.ts";
import type { SessionFolder } from "./folder.ts";
import { identityOf } from "./identity.ts";
import { samplingText } from "./note.ts";
import { SessionStore } from "./store.ts";

/** What a store needs to know of a model that was loaded. */
export interface SessionModel {
  source: ModelSource;
  settings: EngineSettings;
  engine: Engine;
}

/** The sessions of a folder, as far as they are of this model. */
export async function openSessions(
  folder: SessionFolder,
  limitBytes: number,
  { source, settings, engine }: SessionModel,
  log: (line: string) => void,
): Promise<SessionStore> {
  const identity = await identityOf(source, settings.dummySeed);
  const sampling = samplingText(settings.index);
  return await SessionStore.open({ folder, limitBytes, engine, identity, sampling, log });
}
