// SPDX-License-Identifier: Apache-2.0
/**
 * A worker that asks /health all the time, as a load balancer does, and the process's memory. A thread of its
 * own: what the clients' thread computes would count as the server's time.
 */

/** What it saw. */
export interface Watched {
  /** Milliseconds of each /health. */
  healthMs: number[];
  mostResidentBytes: number;
  problems: string[];
}

const WATCH = "watch";
const HEALTH_EVERY_MS = 25, MEMORY_EVERY_MS = 500;

/** Memory of the server's process. */
async function residentBytes(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes\S* (\S+)$/m.exec(metrics)?.[1] ?? NaN);
}

async function askHealth(url: string, seen: Watched): Promise<void> {
  const started = performance.now();
  const response = await fetch(`${url}/health`);
  await response.body?.cancel();
  seen.healthMs.push(performance.now() - started);
  if (response.status !== 200) seen.problems.push(`/health said ${response.status}`);
}

async function watch(url: string, stopped: () => boolean): Promise<Watched> {
  const seen: Watched = { healthMs: [], mostResidentBytes: 0, problems: [] };
  let memoryAt = -Infinity;
  while (!stopped()) {
    try {
      await askHealth(url, seen);
      if (performance.now() - memoryAt > MEMORY_EVERY_MS) {
        memoryAt = performance.now();
        seen.mostResidentBytes = Math.max(seen.mostResidentBytes, await residentBytes(url));
      }
    } catch (error) {
      seen.problems.push(String(error));
    }
    await new Promise((done) => setTimeout(done, HEALTH_EVERY_MS));
  }
  return seen;
}

/**
 * Watches a server from a thread of its own, from when this resolves; what it resolves to stops that and
 * says what was seen.
 */
export async function startWatching(url: string): Promise<() => Promise<Watched>> {
  const worker = new Worker(import.meta.url, { type: "module", name: WATCH });
  const { port1: port, port2 } = new MessageChannel();
  const answer = () =>
    new Promise<Watched>((resolve, reject) => {
      port.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
  const started = answer();
  worker.postMessage(url, [port2]);
  await started;
  return async () => {
    const seen = answer();
    port.postMessage("stop");
    try {
      return await seen;
    } finally {
      port.close();
      worker.terminate();
    }
  };
}

if (self.name === WATCH) {
  self.addEventListener("message", async (event) => {
    const { data: url, ports } = event as MessageEvent<string>;
    const port = ports[0]!;
    let stop = false;
    port.onmessage = () => stop = true;
    port.postMessage("started");
    port.postMessage(await watch(url, () => stop));
  });
}
