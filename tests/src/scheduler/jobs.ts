// SPDX-License-Identifier: Apache-2.0
/** Jobs without text, for tests of the scheduler's parts. */
import { GREEDY, type SequenceResult } from "../../../src/engine/engine.ts";
import type { Failure } from "../../../src/errors.ts";
import {
  type GivenLogprobs,
  Job,
  type JobOutput,
  type JobSpec,
  type TokenEnd,
} from "../../../src/scheduler/job.ts";
import { promptOf } from "../../fixtures/requests.ts";

/** An output that keeps what it gets. */
export class Kept implements JobOutput {
  stalled = false;
  readonly tokens: { choice: number; token: number; end: TokenEnd | null }[] = [];
  readonly given: number[] = [];
  readonly ended: number[] = [];
  failure: Failure | null = null;
  cachedTokens: number | null = null;
  preemptions = 0;
  readonly processed: number[] = [];
  /** Tokens of a choice after which its text ends. */
  stopsAfter = Infinity;
  /** Called with each token. */
  onToken: (choice: number, token: number) => void = () => {};

  progress(processed: number): void {
    this.processed.push(processed);
  }

  started(cachedTokens: number): void {
    this.cachedTokens = cachedTokens;
  }

  scored(given: GivenLogprobs): void {
    this.given.push(...given.map(({ logprob }) => logprob));
  }

  hidden(): void {}

  preempted(): void {
    this.preemptions++;
  }

  token(choice: number, { token }: SequenceResult, end: TokenEnd | null): boolean {
    this.tokens.push({ choice, token, end });
    this.onToken(choice, token);
    return this.of(choice).length >= this.stopsAfter;
  }

  end(choice: number): void {
    this.ended.push(choice);
  }

  fail(failure: Failure): void {
    this.failure = failure;
  }

  /** The tokens of a choice. */
  of(choice: number): number[] {
    return this.tokens.filter((token) => token.choice === choice).map(({ token }) => token);
  }
}

export function spec(fields: Partial<JobSpec> & { promptTokens?: number } = {}): JobSpec {
  const { promptTokens = 5, ...rest } = fields;
  return {
    prompt: promptOf(promptTokens),
    n: 1,
    sampling: GREEDY,
    openingSampling: GREEDY,
    constraint: null,
    maxTokens: 8,
    minTokens: 0,
    endTokens: new Set(),
    alternatives: 0,
    scoreAlternatives: null,
    embed: false,
    attention: null,
    cacheScope: "",
    priority: "normal",
    timeoutMs: null,
    progress: false,
    ...rest,
  };
}

export function job(
  fields: Parameters<typeof spec>[0] & { reserved?: number; deterministic?: boolean } = {},
): Job {
  const { reserved, deterministic = false, ...rest } = fields;
  return new Job(spec(rest), new Kept(), {
    ...(reserved === undefined ? {} : { reservedTokens: reserved }),
    deterministic,
  });
}
