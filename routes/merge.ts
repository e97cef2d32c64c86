// SPDX-License-Identifier: Apache-2.0
/** Several asynchronous sequences as one. */

/** A value and the index of the sequence that it came from. */
export interface Merged<T> {
  source: number;
  value: T;
}

type Arrival<T> = { source: number } & ({ result: IteratorResult<T> } | { error: unknown });

/**
 * The values of all sources as they arrive. The next value of a source is asked for when its last one
 * was taken, so at most one a source waits here. A source that throws ends the whole.
 */
export async function* merge<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<Merged<T>> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const arrived: Arrival<T>[] = [];
  let wake = () => {};
  const ask = (source: number) => {
    const arrive = (arrival: Arrival<T>) => {
      arrived.push(arrival);
      wake();
    };
    iterators[source]!.next().then(
      (result) => arrive({ source, result }),
      (error) => arrive({ source, error }),
    );
  };
  for (let source = 0; source < iterators.length; source++) ask(source);
  for (let open = iterators.length; open > 0;) {
    if (arrived.length === 0) await new Promise<void>((resolve) => wake = resolve);
    // Only as many as are here now: one that is quick must not starve the others.
    for (const arrival of arrived.splice(0)) {
      if ("error" in arrival) throw arrival.error;
      if (arrival.result.done) {
        open--;
      } else {
        yield { source: arrival.source, value: arrival.result.value };
        ask(arrival.source);
      }
    }
  }
}
