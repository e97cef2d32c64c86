// SPDX-License-Identifier: Apache-2.0
/** The queue of requests that were accepted and do not fit yet: in their order, bounded. */
import { insertInOrder, type Job } from "./job.ts";

export class WaitingQueue {
  readonly #jobs: Job[] = [];
  readonly #maxJobs: number;
  readonly #maxTokens: number;
  #tokens = 0;

  constructor(maxJobs: number, maxTokens: number) {
    this.#maxJobs = maxJobs;
    this.#maxTokens = maxTokens;
  }

  get length(): number {
    return this.#jobs.length;
  }

  get first(): Job | undefined {
    return this.#jobs[0];
  }

  get jobs(): readonly Job[] {
    return this.#jobs;
  }

  /** Whether it takes this job: an empty queue takes a prompt of any length. */
  accepts(job: Job): boolean {
    if (this.#jobs.length >= this.#maxJobs) return false;
    return this.#jobs.length === 0 || this.#tokens + job.spec.prompt.length <= this.#maxTokens;
  }

  push(job: Job): void {
    insertInOrder(this.#jobs, job);
    this.#tokens += job.spec.prompt.length;
  }

  /** Takes a job out, wherever it stands. */
  remove(job: Job): void {
    const index = this.#jobs.indexOf(job);
    if (index < 0) return;
    this.#jobs.splice(index, 1);
    this.#tokens -= job.spec.prompt.length;
  }
}
