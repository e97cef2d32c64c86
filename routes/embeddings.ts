// SPDX-License-Identifier: Apache-2.0
/** `POST /v1/embeddings`: the mean of a text's hidden states after the final norm, of length 1. */
import { SERVER_ATTENTION } from "../src/engine/attention.ts";
import { GREEDY } from "../src/engine/engine.ts";
import { Failure } from "../src/errors.ts";
import type { GenerationRequest, ModelInfo } from "../src/types.ts";
import { type Admission, newId, submit } from "./admission.ts";
import { encodePrompt } from "./completions.ts";
import type { Deps, Handler } from "./context.ts";
import { invalid } from "./errors.ts";
import type { Job } from "./job.ts";
import { readAsked } from "./models.ts";
import { type EmbeddingsBody, parseEmbeddings } from "./schemas/embeddings.ts";
import { tokenCounts } from "./usage.ts";
import { clientLeft, wholeAnswer } from "./whole_answer.ts";

/** Inputs that are computed at once: a request of thousands must not fill the queue that all share. */
const AT_ONCE = 16;
/** Between two tries to go on where the queue is full. */
const AGAIN_MS = 500;

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
  const { service } = deps;
  return async (c) => {
    const { signal } = c.req.raw;
    const { model, body } = await readAsked(c, deps, parseEmbeddings);
    const prompts: Int32Array[] = [];
    for (const input of body.inputs) {
      const prompt = await encodePrompt(service, input, body.addSpecial);
      if (signal.aborted) return clientLeft();
      checkLength(prompt, model);
      prompts.push(prompt);
    }
    const id = newId("embd");
    const atOnce = Math.min(AT_ONCE, model.mostRequests);
    const work = new Embedding(atOnce, (some, first) => {
      const asked = { id: `${id}-${first}`, model: model.id, stream: false, field: "input" };
      return submit(c, service, asked, some, EMBED);
    });
    const answer = work.run(prompts).then((means) =>
      means && embeddingsOf(means, prompts, model, body)
    );
    return wholeAnswer(c, deps, { answer, cancel: () => work.cancel() });
  };
}

/** All of them before any is run: an answer that has begun has no status to refuse with. */
function checkLength({ length }: Int32Array, { contextTokens }: ModelInfo): void {
  if (length === 0) throw invalid("input", "An input has no tokens");
  if (length <= contextTokens) return;
  const sentence = `An input has ${length} tokens, but the context holds ${contextTokens}`;
  throw invalid("input", sentence, "context_length_exceeded");
}

function embeddingsOf(
  means: readonly Float32Array[],
  prompts: readonly Int32Array[],
  model: ModelInfo,
  { dimensions, base64: asBase64 }: EmbeddingsBody,
): unknown {
  const tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const { completion_tokens: _, ...usage } = tokenCounts(tokens, 0);
  const data = means.map((mean, index) => {
    const unit = unitVector(mean.subarray(0, dimensions));
    return { object: "embedding", index, embedding: asBase64 ? base64(unit) : [...unit] };
  });
  return { object: "list", data, model: model.id, usage };
}

/** A request's inputs, a few at a time. */
class Embedding {
  readonly #atOnce: number;
  readonly #submit: (prompts: readonly Int32Array[], first: number) => Promise<Job>;
  #job: Job | null = null;
  #left = false;

  constructor(
    atOnce: number,
    submit: (prompts: readonly Int32Array[], first: number) => Promise<Job>,
  ) {
    this.#atOnce = atOnce;
    this.#submit = submit;
  }

  cancel(): void {
    this.#left = true;
    this.#job?.cancel();
  }

  /** One for each prompt; null when the client went away. */
  async run(prompts: readonly Int32Array[]): Promise<Float32Array[] | null> {
    const means: Float32Array[] = [];
    for (let first = 0; first < prompts.length; first += this.#atOnce) {
      this.#job = await this.#admitted(prompts.slice(first, first + this.#atOnce), first);
      if (this.#left) this.#job.cancel();
      for await (const { prompt, event } of this.#job.events()) {
        if (event.type === "done") means[first + prompt] = event.embedding!;
      }
      if (this.#job.cancelled) return null;
    }
    return means;
  }

  /** A request that has begun waits where a new one would have to come again. */
  async #admitted(prompts: readonly Int32Array[], first: number): Promise<Job> {
    for (;;) {
      try {
        return await this.#submit(prompts, first);
      } catch (error) {
        const busy = error instanceof Failure && error.kind === "too_many_requests";
        if (!busy || first === 0 || this.#left) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }
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
