// SPDX-License-Identifier: Apache-2.0
/** The field `sounder`: how generated tokens attend, and what session they are part of. */
import { z } from "zod";
import { type AttentionRequest, SERVER_ATTENTION } from "../../src/engine/attention.ts";
import { STRATEGIES } from "../../src/engine/engine.ts";
import {
  fields,
  integer,
  oneOf,
  parse,
  refuse,
  seed,
  seedOf,
  share,
  show,
  text,
} from "./fields.ts";
import { nullsAreAbsent, shownAs } from "./shown.ts";

/** Most independent draws of the oracle. */
const MAX_DRAWS = 65536;

const shape = {
  attention: oneOf("auto", ...STRATEGIES).optional(),
  budget: share(1).optional(),
  beta: share(4).optional(),
  seed: seed.optional(),
  collisions: integer(1, 3).optional(),
  draws: integer(0, MAX_DRAWS).optional(),
  session: text.optional(),
};

const schema = fields(shape);

/** The field, whose value {@linkcode extensionOf} reads. */
export const attentionField: z.ZodUnknown = shownAs(
  z.unknown(),
  nullsAreAbsent(z.strictObject(shape)),
);

/** What the field says. */
export interface Extension {
  attention: AttentionRequest;
  session: string | null;
}

/** Reads it; throws a 400 that names the field. A key that isn't known would have changed the answer. */
export function extensionOf(value: unknown): Extension {
  if (value === undefined) return { attention: SERVER_ATTENTION, session: null };
  const body = parse(schema, value, ["sounder"]);
  const unknown = Object.keys(value as object).find((key) => !Object.hasOwn(shape, key));
  if (unknown !== undefined) {
    const known = Object.keys(shape).map((key) => `"${key}"`).join(", ");
    refuse(["sounder"], `has the key ${show(unknown)}: there are ${known}`);
  }
  return {
    attention: {
      strategy: body.attention ?? "auto",
      budget: body.budget ?? null,
      beta: body.beta ?? null,
      seed: body.seed === undefined ? null : seedOf(body.seed),
      collisions: body.collisions ?? null,
      draws: body.draws ?? null,
    },
    session: body.session ?? null,
  };
}
