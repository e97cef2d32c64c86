// SPDX-License-Identifier: Apache-2.0
// Requests made from /openapi.json, right ones and wrong ones: every answer is one that it describes.
import { assert, assertEquals } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";
import { output, testWith, venv } from "./venv.ts";

const environment = await venv("schemathesis", ["schemathesis==4.32.5"]);

/**
 * A short context keeps answers short. What the schema allows may still be refused (fields that contradict
 * each other, as best_of and n), so that check is left out. One worker: two of them were seen to fail within
 * Python ("AST constructor recursion depth mismatch").
 */
const ARGS = [
  ...["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all"],
  ...["--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--workers", "1"],
  ...["--request-timeout", "60", "--continue-on-failure", "--no-color"],
];

testWith(
  environment,
  "schemathesis finds no answer that the description lacks",
  async ({ bin }) => {
    const cwd = await Deno.makeTempDir();
    try {
      const args = [
        "--memory",
        "1GiB",
        "--context",
        "128",
        "--quiet",
        "--sessions",
        `${cwd}/sessions`,
      ];
      await using server = new TestServer(args, { SOUNDER_API_KEY: "secret" });
      const url = await server.ready();
      const header = ["-H", "Authorization: Bearer secret"];
      const command = ["run", `${url}/openapi.json`, ...header, ...ARGS];
      const report = await output(`${bin}/schemathesis`, command, { seconds: 300, cwd });
      const [, generated, passed] = report.match(/(\d+) generated, (\d+) passed/)!;
      assertEquals(passed, generated);
      assert(Number(passed) > 1000, `only ${passed} requests`);
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  },
);
