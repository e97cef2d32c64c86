// SPDX-License-Identifier: Apache-2.0
/** Sends long texts and conversations to the worker, one after the other, and survives its death. */
import { Failure } from "../errors.ts";
import type { EncodeHow } from "./encoder.ts";
import type { ChatMessage, ChatOptions } from "./tokenizer.ts";
import type { WorkerAnswer, WorkerRequest, WorkerSetup } from "./worker.ts";

interface Job {
  request: WorkerRequest;
  /** About how many characters it is. */
  size: number;
  resolve: (ids: Int32Array) => void;
  reject: (failure: Failure) => void;
}

/** Time for a text: this much, and as much again for every million characters. */
const LIMIT_MS = 30_000;

/** What the client needs of a worker. */
export type WorkerMaker = () => Worker;

const WORKER_URL = new URL("./worker.ts", import.meta.url);
/** What it reads beside packages. */
const WORKER_SOURCES = [new URL(".", WORKER_URL), new URL("../errors.ts", WORKER_URL)];

/** Whether a worker may be started here: it reads its own modules. */
export function workerAllowed(): boolean {
  if (WORKER_URL.protocol !== "file:") return true;
  return WORKER_SOURCES.every((path) =>
    Deno.permissions.querySync({ name: "read", path }).state === "granted"
  );
}

/** A worker for one tokenizer; started with its first text. */
export class WorkerClient {
  readonly #setup: WorkerSetup;
  readonly #make: WorkerMaker;
  readonly #limitMs: number;
  readonly #waiting: Job[] = [];
  #worker: Worker | null = null;
  #running: Job | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(
    setup: WorkerSetup,
    make: WorkerMaker = () => new Worker(WORKER_URL, { type: "module", name: "tokenizer" }),
    limitMs = LIMIT_MS,
  ) {
    this.#setup = setup;
    this.#make = make;
    this.#limitMs = limitMs;
  }

  /** @throws {Failure} kind `engine` when the worker dies or takes too long, `unavailable` after close. */
  encode(text: string, how: EncodeHow): Promise<Int32Array> {
    return this.#ask({ kind: "text", text, how }, text.length);
  }

  /** @throws {Failure} also kind `invalid`, with the template's own sentence when it refuses the messages. */
  encodeChat(
    messages: readonly ChatMessage[],
    options: ChatOptions = {},
    size: number,
  ): Promise<Int32Array> {
    return this.#ask({ kind: "chat", messages, options }, size);
  }

  #ask(request: WorkerRequest, size: number): Promise<Int32Array> {
    if (this.#closed) return Promise.reject(closedFailure());
    const { promise, resolve, reject } = Promise.withResolvers<Int32Array>();
    this.#waiting.push({ request, size, resolve, reject });
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
    const limit = this.#limitMs * (1 + job.size / 1e6);
    this.#timer = setTimeout(
      () => this.#fail(`took longer than ${Math.round(limit / 1000)} seconds`),
      limit,
    );
    this.#worker.postMessage(job.request);
  }

  #start(): Worker {
    const worker = this.#make();
    worker.onmessage = (event: MessageEvent<WorkerAnswer>) => {
      const job = this.#running;
      this.#running = null;
      clearTimeout(this.#timer);
      const answer = event.data;
      if (answer instanceof Int32Array) job?.resolve(answer);
      else job?.reject(new Failure(answer.kind, answer.message, answer));
      this.#next();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(`stopped: ${event.message}`);
    };
    worker.postMessage(this.#setup);
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
