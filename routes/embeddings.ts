// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/embeddings`: the mean of a text's hidden states after the final norm, of length 1. */
import { SERVER_ATTENTION } from "../src/engine/attention.ts";
import { GREEDY } from "../src/engine/engine.ts";
import type { GenerationRequest } from "../src/types.ts";
import { type Admission, newId, submit } from "./admission.ts";
import { clientLeft } from "./answer.ts";
import { readJson } from "./body.ts";
import { encodePrompt } from "./completions.ts";
import type { Deps, Handler } from "./context.ts";
import { invalid } from "./errors.ts";
import type { Job } from "./job.ts";
import { requireModel } from "./models.ts";
import { parseEmbeddings } from "./schemas/embeddings.ts";
import { tokenCounts } from "./usage.ts";

/** Inputs that are computed at once: a request of thousands must not fill the queue that all share. */
const AT_ONCE = 16;

/** Runs the prompt and reports its embedding. */
const EMBED: Omit<GenerationRequest, Admission> = {
  n: 1,
  sampling: GREEDY,
  maxTokens: 0,
  minTokens: 0,
  stop: [],
  stopTokens: [],
  ignoreEos: true,
  skipSpecialTokens: true,
  continuesPrompt: true,
  logprobs: null,
  scorePrompt: null,
  embed: true,
  session: null,
  attention: { ...SERVER_ATTENTION, strategy: "full" },
};

/** The route. */
export function embeddings(deps: Deps): Handler {
  const { service, options } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    service.model();
    const json = await readJson(c.req.raw, options.maxBodyBytes);
    const model = requireModel(deps, json["model"]);
    const body = parseEmbeddings(json, model);
    const prompts: Int32Array[] = [];
    for (const input of body.inputs) {
      const prompt = await encodePrompt(service, input, body.addSpecial);
      if (signal.aborted) return clientLeft();
      if (prompt.length === 0) throw invalid("input", "An input has no tokens");
      prompts.push(prompt);
    }
    const means: Float32Array[] = [];
    const id = newId("embd");
    for (let first = 0; first < prompts.length; first += AT_ONCE) {
      const some = prompts.slice(first, first + AT_ONCE);
      const asked = { id: `${id}-${first}`, model: model.id, stream: false, field: "input" };
      const found = await embeddingsOf(await submit(c, service, asked, some, EMBED));
      if (found === null) return clientLeft();
      means.push(...found);
    }
    const tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
    const { completion_tokens: _, ...usage } = tokenCounts(tokens, 0);
    const data = means.map((mean, index) => {
      const unit = unitVector(mean.subarray(0, body.dimensions));
      return { object: "embedding", index, embedding: body.base64 ? base64(unit) : [...unit] };
    });
    return c.json({ object: "list", data, model: model.id, usage });
  };
}

/** One for each prompt; null when the client went away. */
async function embeddingsOf(job: Job): Promise<Float32Array[] | null> {
  const found: Float32Array[] = [];
  for await (const { prompt, event } of job.events()) {
    if (event.type === "done") found[prompt] = event.embedding!;
  }
  return job.cancelled ? null : found;
}

function unitVector(values: Float32Array): Float32Array<ArrayBuffer> {
  const length = Math.hypot(...values);
  return Float32Array.from(values, (value) => length > 0 ? value / length : 0);
}

/** Little-endian float32, as OpenAI's clients ask for unless told otherwise. */
function base64(values: Float32Array<ArrayBuffer>): string {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setFloat32(4 * i, value, true));
  return new Uint8Array(view.buffer).toBase64();
}
