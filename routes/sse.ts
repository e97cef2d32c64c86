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

/** A reader that takes nothing for so long is given up: its KV is wanted by others. */
export const STALL_MS = 5 * 60_000;

/** How a stream is kept open, and given up. */
export interface StreamCare {
  /** So much silence brings a ping (0: none), by the clock and not by what the engine does. */
  pingMs: number;
  /** What readers skip (default: a comment). */
  ping?: string;
  /** Called once when the reader goes away, or takes nothing for `stallMs`. */
  cancel: () => void;
  stallMs?: number;
}

/** The body of an event stream. The reader pulls: a slow one is not written ahead of. */
export function eventStream(
  frames: AsyncIterator<string>,
  { pingMs, ping = PING, cancel, stallMs = STALL_MS }: StreamCare,
): ReadableStream<Uint8Array> {
  type Controller = ReadableStreamDefaultController<Uint8Array>;
  const period = pingMs > 0 ? Math.min(pingMs, stallMs) : stallMs;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sentAt = performance.now();
  let pulling = false;
  let left = false;
  const send = (controller: Controller, text: string) => {
    sentAt = performance.now();
    controller.enqueue(ENCODER.encode(text));
  };
  const leave = () => {
    left = true;
    clearTimeout(timer);
    cancel();
  };
  // One timer a stream and not one an event: it looks how long ago the last one was.
  const watch = (controller: Controller) => {
    if (controller.desiredSize === null) return;
    const silentMs = performance.now() - sentAt;
    const unread = !pulling || controller.desiredSize < 0;
    if (unread && silentMs >= stallMs) {
      leave();
      return controller.error(new Error("The reader takes nothing."));
    }
    const due = silentMs >= period;
    // Below 0 something waits to be read already: pings must not pile up before a slow reader.
    if (due && pingMs > 0 && controller.desiredSize === 0) send(controller, ping);
    timer = setTimeout(watch, due ? period : period - silentMs, controller);
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      timer ??= setTimeout(watch, period, controller);
      pulling = true;
      const next = await frames.next().catch((error) => {
        clearTimeout(timer);
        throw error;
      });
      pulling = false;
      if (left) return;
      if (!next.done) return send(controller, next.value);
      clearTimeout(timer);
      controller.close();
    },
    cancel: leave,
  }, { highWaterMark: 0 });
}
