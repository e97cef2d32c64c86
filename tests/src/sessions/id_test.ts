// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Failure } from "../../../src/errors.ts";
import { fileNameOf, nameOfFile, requireId, requireOwnId } from "../../../src/sessions/id.ts";

const scope = fc.oneof(fc.constant(""), fc.stringMatching(/^[0-9a-f]{32}$/));

Deno.test("an id is letters, digits, dots, underscores and dashes, and begins with a letter or digit", () => {
  for (const id of ["a", "9", "Talk-1", "a.b_c-d", "a..b", "x".repeat(64)]) requireId(id, "id");
  const bad = [
    "",
    ".",
    "..",
    ".a",
    "-a",
    "_a",
    "a/b",
    "../a",
    "a\\b",
    "a b",
    "a\0",
    "a\n",
    "é",
    "a@b",
  ];
  for (const id of [...bad, "x".repeat(65), "a%2Fb", "a:b", "CON ", "a\u202e"]) {
    const error = assertThrows(() => requireId(id, "sounder.session"), Failure);
    assertEquals([error.kind, error.param], ["invalid", "sounder.session"]);
  }
});

Deno.test("whatever text an id is, its file lies in the folder itself, or there is none", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), scope, (id, scope) => {
      let name: string;
      try {
        name = fileNameOf({ id, scope });
      } catch {
        return;
      }
      assert(/^[A-Za-z0-9][A-Za-z0-9._@-]*\.session$/.test(name), name);
      assertEquals(nameOfFile(name), { id, scope });
    }),
    { seed: 1 },
  );
});

Deno.test("sessions of two scopes never share a file", () => {
  const ids = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,10}$/);
  fc.assert(
    fc.property(ids, scope, ids, scope, (a, scopeOfA, b, scopeOfB) => {
      const same = a === b && scopeOfA === scopeOfB;
      const names = [
        fileNameOf({ id: a, scope: scopeOfA }),
        fileNameOf({ id: b, scope: scopeOfB }),
      ];
      assertEquals(names[0] === names[1], same);
    }),
    { seed: 2 },
  );
});

Deno.test("other files of the folder are no sessions", () => {
  for (
    const name of [".lock", "a", "a.session.partial", "a@b@c.session", ".session", "a@x.session"]
  ) {
    assertEquals(nameOfFile(name), null);
  }
});

Deno.test("the server's own names are not for clients to take", () => {
  requireOwnId("automatic", "id");
  assertThrows(() => requireOwnId("auto-1", "id"), Failure, "server's own");
});
