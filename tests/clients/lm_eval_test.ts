// SPDX-License-Identifier: Apache-2.0
// lm-evaluation-harness over `local-completions`: log-likelihoods by echo, and generation.
import { assertEquals } from "@std/assert";
import { TestServer } from "../fixtures/server.ts";
import { output, testWith, venv } from "./venv.ts";

const TASKS = new URL("lm_eval/", import.meta.url).pathname;
const environment = await venv("lm_eval", ["lm_eval[api]==0.4.13"]);

/** The metrics of both tasks. */
async function evaluate(bin: string, modelArgs: string, batch: number): Promise<number[]> {
  const folder = await Deno.makeTempDir();
  try {
    await output(`${bin}/lm_eval`, [
      "run",
      ...["--model", "local-completions", "--model_args", modelArgs],
      ...["--tasks", "codes_choice,codes_generate", "--include_path", TASKS],
      ...["--batch_size", String(batch), "--output_path", `${folder}/results.json`],
    ], { seconds: 180, cwd: TASKS, env: { HF_HUB_OFFLINE: "1", HF_HOME: `${folder}/cache` } });
    const [file] = Array.from(Deno.readDirSync(folder)).filter(({ name }) => /json$/.test(name));
    const { results } = JSON.parse(await Deno.readTextFile(`${folder}/${file!.name}`));
    return [results.codes_choice["acc,none"], results.codes_generate["exact_match,none"]];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

testWith(environment, "lm-evaluation-harness: the embedded model finds every code", async (
  { bin },
  t,
) => {
  await using server = new TestServer(["--memory", "1GiB"]);
  const url = await server.ready();
  const args = `base_url=${url}/v1/completions,model=recall,max_retries=1`;
  await t.step("prompts as tokens, four at a time", async () => {
    assertEquals(await evaluate(bin, args, 4), [1, 1]);
  });
  await t.step("prompts as text, three requests at a time", async () => {
    const asText = `${args},tokenized_requests=False,num_concurrent=3`;
    assertEquals(await evaluate(bin, asText, 1), [1, 1]);
  });
});
