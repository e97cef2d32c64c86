// SPDX-License-Identifier: Apache-2.0
// Python's clients against the real server: each streams, cancels, and gets an object that fits its schema.
import { assert } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";
import { output, testWith, venv } from "./venv.ts";

const SCRIPTS = new URL("python/", import.meta.url).pathname;
const environment = await venv("clients", [
  "openai==2.54.0",
  "langchain-openai==1.7.4",
  "litellm==1.106.12",
  // litellm looks for it when a request has tools.
  "mcp==2.3.0",
  "instructor==1.17.0",
  "anthropic==2.14.0",
]);

interface Check {
  name: string;
  error: string | null;
}

testWith(environment, "PyPI's clients", async ({ python }, t) => {
  const args = ["--memory", "1GiB", "--quiet"];
  await using server = new TestServer(args, { SOUNDER_API_KEY: "secret" });
  const url = await server.ready();
  for (const client of ["openai", "langchain", "litellm", "instructor", "anthropic"]) {
    await t.step(client, async (t) => {
      const script = `${SCRIPTS}check_${client}.py`;
      const env = { PYTHONDONTWRITEBYTECODE: "1" };
      const lines = (await output(python, [script, url], { seconds: 120, env })).trim().split("\n");
      const checks = lines.map((line): Check => JSON.parse(line));
      for (const { name, error } of checks) {
        await t.step(name, () => assert(error === null, error!));
      }
    });
  }
});
