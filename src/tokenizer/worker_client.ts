// SPDX-License-Identifier: Apache-2.0
/** Sends long texts to the worker, one after the other, and survives its death. */
import { Failure } from "../errors.ts";
import type { EncodeHow } from "./encoder.ts";
import type { TokenizerSpec } from "./spec.ts";

interface Job {
  text: string;
  how: EncodeHow;
  resolve: (ids: Int32Array) => void;
  reject: (failure: Failure) => void;
}

/** Time for a text: this much, and as much again for every million characters. */
const LIMIT_MS = 30_000;

/** What the client needs of a worker. */
export type WorkerMaker = () => Worker;

const WORKER_URL = new URL("./worker.ts", import.meta.url);

/** Whether a worker may be started here: it reads its own modules. */
export function workerAllowed(): boolean {
  if (WORKER_URL.protocol !== "file:") return true;
  const folder = new URL(".", WORKER_URL);
  return Deno.permissions.querySync({ name: "read", path: folder }).state === "granted";
}

/** A worker for one tokenizer; started with its first text. */
export class WorkerClient {
  readonly #spec: TokenizerSpec;
  readonly #make: WorkerMaker;
  readonly #limitMs: number;
  readonly #waiting: Job[] = [];
  #worker: Worker | null = null;
  #running: Job | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(
    spec: TokenizerSpec,
    make: WorkerMaker = () => new Worker(WORKER_URL, { type: "module", name: "tokenizer" }),
    limitMs = LIMIT_MS,
  ) {
    this.#spec = spec;
    this.#make = make;
    this.#limitMs = limitMs;
  }

  /** @throws {Failure} kind `engine` when the worker dies or takes too long, `unavailable` after close. */
  encode(text: string, how: EncodeHow): Promise<Int32Array> {
    if (this.#closed) return Promise.reject(closedFailure());
    const { promise, resolve, reject } = Promise.withResolvers<Int32Array>();
    this.#waiting.push({ text, how, resolve, reject });
    this.#next();
    return promise;
  }

  /** Ends the worker; texts that are not done fail. */
  close(): void {
    this.#closed = true;
    const jobs = [...(this.#running ? [this.#running] : []), ...this.#waiting.splice(0)];
    this.#stop();
    for (const job of jobs) job.reject(closedFailure());
  }

  #next(): void {
    if (this.#running || this.#closed) return;
    const job = this.#waiting.shift();
    if (!job) return;
    this.#running = job;
    this.#worker ??= this.#start();
    const limit = this.#limitMs * (1 + job.text.length / 1e6);
    this.#timer = setTimeout(
      () => this.#fail(`took longer than ${Math.round(limit / 1000)} seconds`),
      limit,
    );
    this.#worker.postMessage({ text: job.text, how: job.how });
  }

  #start(): Worker {
    const worker = this.#make();
    worker.onmessage = (event: MessageEvent<Int32Array>) => {
      const job = this.#running;
      this.#running = null;
      clearTimeout(this.#timer);
      job?.resolve(event.data);
      this.#next();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`stopped: ${event.message}`);
    };
    worker.postMessage(this.#spec);
    return worker;
  }

  /** The text that was being encoded fails; those that wait get a new worker. */
  #fail(why: string): void {
    const job = this.#running;
    this.#stop();
    job?.reject(
      new Failure("engine", `The tokenizer's worker ${why}. Send the request again.`, {
        retryAfterSeconds: 1,
      }),
    );
    this.#next();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    this.#running = null;
  }
}

function closedFailure(): Failure {
  return new Failure("unavailable", "The server is shutting down.");
}
