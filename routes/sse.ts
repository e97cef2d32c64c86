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

/** One event with its type as its name, as the Responses and Messages APIs have them. */
export function typedFrame(event: { type: string }): string {
  return `event: ${event.type}\n${frame(event)}`;
}

/** Each event as a frame. */
export async function* typedFrames(
  events: AsyncIterable<{ type: string }>,
): AsyncGenerator<string> {
  for await (const event of events) yield typedFrame(event);
}

/** Headers of an event stream. Compression and buffering on the way would hold tokens back. */
export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

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
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sentAt = 0;
  let left = false;
  type Controller = ReadableStreamDefaultController<Uint8Array>;
  const send = (controller: Controller, text: string) => {
    sentAt = performance.now();
    controller.enqueue(ENCODER.encode(text));
  };
  // One timer a stream and not one an event: it looks how long ago the last one was.
  const watch = (controller: Controller) => {
    if (controller.desiredSize === null) return;
    const silentMs = performance.now() - sentAt;
    const due = silentMs >= pingMs;
    // Below 0 something waits to be read already: comments must not pile up before a slow reader.
    if (due && controller.desiredSize === 0) send(controller, PING);
    timer = setTimeout(watch, due ? pingMs : pingMs - silentMs, controller);
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (pingMs > 0 && timer === undefined) timer = setTimeout(watch, pingMs, controller);
      const next = await frames.next();
      if (left) return;
      if (!next.done) return send(controller, next.value);
      clearTimeout(timer);
      controller.close();
    },
    cancel() {
      left = true;
      clearTimeout(timer);
      cancel();
    },
  }, { highWaterMark: 0 });
}
