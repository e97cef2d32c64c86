// SPDX-License-Identifier: Apache-2.0
/**
 * Who runs: admission, pausing and resuming under the memory formula. Everything here happens between two
 * steps and only moves commitments about; the engine's contexts are made when a sequence is first stepped.
 *
 * The order is that of arrival, with a head start by priority. The oldest job whose reader keeps up (the *head*) always goes on: for it
 * the youngest others give up first what they committed but don't use (they pause), then their KV (they are
 * released, and run their tokens again later). Nobody overtakes: paused and released jobs resume oldest
 * first, and before anyone younger is admitted. So the head finishes, and everyone becomes the head.
 */
import { insertInOrder, type Job, type Sequence } from "./job.ts";
import type { Ledger } from "./memory.ts";
import type { PrefixSharing } from "./prefix_sharing.ts";
import type { WaitingQueue } from "./waiting.ts";

export class Roster {
  /** Admitted jobs, oldest first. */
  readonly #jobs: Job[] = [];
  readonly #ledger: Ledger;
  readonly #sharing: PrefixSharing;
  readonly #queue: WaitingQueue;
  /** The number of the next step. */
  step = 0;

  constructor(ledger: Ledger, sharing: PrefixSharing, queue: WaitingQueue) {
    this.#ledger = ledger;
    this.#sharing = sharing;
    this.#queue = queue;
  }

  get jobs(): readonly Job[] {
    return this.#jobs;
  }

  /** Admits a job if nobody waits before it and it fits now. */
  tryAdmit(job: Job): boolean {
    const overtakes = this.#jobs.some((other) =>
      other.state !== "running" && !isStalled(other) && !job.precedes(other)
    );
    if (overtakes || !this.#runs(job)) return false;
    insertInOrder(this.#jobs, job);
    for (const sequence of job.sequences) sequence.lastStep = this.step;
    return true;
  }

  /** Decides who may take part in the next step. */
  settle(): void {
    for (const job of this.#jobs) if (job.state === "running" && isStalled(job)) this.#pause(job);
    const head = this.#jobs.find((job) => !isStalled(job));
    if (head !== undefined && head.state !== "running") this.#resume(head, head);
    for (const job of this.#jobs) if (job.state === "running") this.#grow(job, head);
    for (const job of this.#jobs) {
      if (job.state === "running" || isStalled(job)) continue;
      if (!this.#resume(job, head)) break;
    }
    this.#admit(head === undefined);
  }

  /** A choice ended: what only it needed is free. Returns true when it was the job's last one. */
  end(sequence: Sequence): boolean {
    const { job } = sequence;
    sequence.ended = true;
    this.#sharing.retire(sequence, true);
    if (job.liveCount === 0) this.remove(job);
    else this.#shrink(job);
    return job.liveCount === 0;
  }

  #shrink(job: Job): void {
    if (job.state === "released") return;
    const blocks = job.state === "paused" ? job.heldBlocks() : job.wantedBlocks();
    this.#ledger.set(job, Math.min(job.blocks, blocks), job.liveCount);
  }

  /** Takes a job out. `keep`: the KV of its contexts may serve others; otherwise they are freed. */
  remove(job: Job, keep = true): void {
    this.#giveUp(job, keep);
    this.#ledger.set(job, 0, 0);
    job.end();
    const index = this.#jobs.indexOf(job);
    if (index >= 0) this.#jobs.splice(index, 1);
  }

  /** Gives up a job's KV; it runs again those of its tokens that the cache has lost when there is room. */
  release(job: Job): void {
    this.#giveUp(job, true);
    job.forget();
    this.#ledger.set(job, 0, 0);
    job.state = "released";
    job.output.preempted();
  }

  /** The youngest job but this one that holds KV; one whose reader is slow comes first. */
  youngestHolder(except: Job | undefined): Job | undefined {
    const holds = (job: Job) => job !== except && job.contexts > 0;
    return this.#jobs.findLast((job) => holds(job) && isStalled(job)) ?? this.#jobs.findLast(holds);
  }

  #run(job: Job, blocks: number): void {
    this.#ledger.set(job, blocks, job.liveCount);
    job.state = "running";
  }

  #pause(job: Job): void {
    this.#ledger.set(job, Math.min(job.blocks, job.heldBlocks()), job.contexts);
    job.state = "paused";
  }

  #giveUp(job: Job, keep: boolean): void {
    for (const sequence of job.sequences) this.#sharing.retire(sequence, keep);
  }

  /** Lets a job run if all that it asks for fits; what it can share of others' counts once, if it starts now. */
  #runs(job: Job): boolean {
    const blocks = job.wantedBlocks();
    if (!this.#ledger.fits(job, blocks, job.liveCount)) {
      const { root } = job;
      const gift = root.context === null ? this.#sharing.gift(root) : 0;
      if (gift === 0 || !this.#ledger.fits(job, blocks - gift, job.liveCount)) return false;
      if (!this.#sharing.start(root)) return false;
      if (!this.#ledger.fits(job, blocks, job.liveCount)) {
        this.#giveUp(job, true);
        job.forget();
        return false;
      }
    }
    this.#run(job, blocks);
    return true;
  }

  /** Lets a running job have the blocks of its next tokens, or pauses it. */
  #grow(job: Job, head: Job | undefined): void {
    const blocks = Math.max(job.blocks, job.neededBlocks());
    while (!this.#ledger.fits(job, blocks, job.contexts)) {
      if (!this.#makeRoom(job, head)) {
        this.#pause(job);
        return;
      }
    }
    this.#ledger.set(job, blocks, job.contexts);
  }

  /** Lets a job go on that was paused or released, if there is room for all that it would ask for. */
  #resume(job: Job, head: Job | undefined): boolean {
    if (this.#runs(job)) return true;
    if (job !== head) return false;
    const needed = Math.max(job.blocks, job.neededBlocks());
    while (!this.#ledger.fits(job, needed, job.liveCount)) {
      if (!this.#makeRoom(job, head)) return false;
    }
    this.#run(job, needed);
    return true;
  }

  /** Frees something for this job. False when there is nothing more that may be taken for it. */
  #makeRoom(job: Job, head: Job | undefined): boolean {
    const lender = this.#jobs.findLast((other) =>
      other.state === "running" && other.blocks > other.heldBlocks()
    );
    if (lender !== undefined && this.#jobs.indexOf(lender) > this.#jobs.indexOf(job)) {
      this.#pause(lender);
      return true;
    }
    if (job !== head) return false;
    const victim = this.youngestHolder(job);
    if (victim === undefined) return false;
    this.release(victim);
    return true;
  }

  /** Admits from the queue in order. `idle`: nobody could run otherwise, so slow readers make room. */
  #admit(idle: boolean): void {
    for (let job = this.#queue.first; job !== undefined; job = this.#queue.first) {
      while (!this.tryAdmit(job)) {
        const victim = idle ? this.youngestHolder(undefined) : undefined;
        if (victim === undefined) return;
        this.release(victim);
      }
      this.#queue.remove(job);
      idle = false;
    }
  }
}

function isStalled(job: Job): boolean {
  return job.output.stalled;
}
