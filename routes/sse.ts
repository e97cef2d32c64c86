// SPDX-License-Identifier: Apache-2.0
/** Server-sent events: frames as bytes, and comments while there are none. */

const ENCODER = new TextEncoder();

/** A comment; clients skip it, proxies see that the connection lives. */
export const PING = ": ping\n\n";

/** The last event of a stream that succeeded. */
export const DONE = "data: [DONE]\n\n";

/** One event. */
export function frame(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

/** Headers of an event stream. Compression and buffering on the way would hold tokens back. */
export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

const SILENCE = Symbol("silence");

/**
 * The body of an event stream. The reader pulls: a slow one is not written ahead of. `pingMs` of silence
 * bring a comment (0: none), by the clock and not by what the engine does. `cancel` is called once when
 * the reader goes away.
 */
export function eventStream(
  frames: AsyncIterator<string>,
  pingMs: number,
  cancel: () => void,
): ReadableStream<Uint8Array> {
  let pending: Promise<IteratorResult<string>> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let left = false;
  const silence = () =>
    new Promise<typeof SILENCE>((resolve) => {
      timer = setTimeout(() => resolve(SILENCE), pingMs);
    });
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      pending ??= frames.next();
      const next = await (pingMs > 0 ? Promise.race([pending, silence()]) : pending);
      clearTimeout(timer);
      if (left) return;
      if (next === SILENCE) return controller.enqueue(ENCODER.encode(PING));
      pending = null;
      if (next.done) controller.close();
      else controller.enqueue(ENCODER.encode(next.value));
    },
    cancel() {
      left = true;
      clearTimeout(timer);
      cancel();
    },
  }, { highWaterMark: 0 });
}
