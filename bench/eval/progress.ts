// SPDX-License-Identifier: Apache-2.0
/** How far a long run is: a line that is rewritten on a terminal, and printed now and then elsewhere. */

const QUIET_MS = 15_000;

function span(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const pad = (n: number) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0
    ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}`
    : `${minutes}:${pad(seconds % 60)}`;
}

/** "12/96, 0.894, 3:20 left". */
export function progressText(done: number, total: number, note: string, elapsedMs: number): string {
  const left = done === 0 ? "" : `, ${span(elapsedMs / done * (total - done))} left`;
  return `${done}/${total}${note === "" ? "" : `, ${note}`}${left}`;
}

export class Progress {
  readonly #start = performance.now();
  #last = -Infinity;

  constructor(readonly what: string, readonly total: number) {}

  /** Shows it; the last one stays. */
  show(done: number, note = ""): void {
    const now = performance.now();
    const line = `${this.what} ${progressText(done, this.total, note, now - this.#start)}`;
    if (Deno.stderr.isTerminal()) {
      const end = done === this.total ? "\n" : "";
      Deno.stderr.writeSync(new TextEncoder().encode(`\r${line}\x1b[K${end}`));
    } else if (done === this.total || now - this.#last > QUIET_MS) {
      this.#last = now;
      console.error(line);
    }
  }
}
