// SPDX-License-Identifier: Apache-2.0
/**
 * Where a sequence starts: from the longest KV that begins as it does. When an older job is about to run what
 * both have in common, the younger one waits for it instead of running the same tokens beside it. It waits
 * for older jobs only, so nobody waits in a circle, and only while that job runs: when it is cancelled,
 * pauses or gives its KV up, the younger one goes on with what there is. All of this happens between steps.
 */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import type { Origin } from "./context_cache.ts";
import type { Contexts } from "./contexts.ts";
import type { Job, Sequence } from "./job.ts";
import { blocksOfTokens } from "./memory.ts";
import type { BatchEntry } from "./plan.ts";
import { type Entry, LEAST_CACHED_TOKENS, type PrefixCache } from "./prefix_cache.ts";

/** Running fewer tokens than these again is quicker than waiting for them. */
const LEAST_AWAITED_TOKENS = BLOCK_TOKENS;
/** Making `lsh` tables of a long context takes longer than running so many of its tokens again. */
const TABLES_IN_TOKENS = BLOCK_TOKENS;

interface Candidate {
  entry: Entry;
  tokens: number;
}

/**
 * Most tokens that may be taken over: one must run to be sampled after, and those must run that are scored or
 * whose hidden states are asked for.
 */
function mostShared({ job, goal }: Sequence): number {
  const { spec: { prompt, scoreAlternatives, embed } } = job;
  if (embed) return 0;
  const scoring = scoreAlternatives !== null && job.scored < prompt.length;
  return Math.max(0, Math.min(goal - 1, scoring ? job.scored - 1 : Infinity));
}

/** Of a deterministic job only whole pieces of the prompt are as another one's would be. */
function wholePieces({ together, pieceTokens }: Job, tokens: number): number {
  return Math.floor(Math.min(tokens, together) / pieceTokens) * pieceTokens;
}

/** What is left to run must be fed as if nothing had been taken over, where bits count. */
function asFed({ job }: Sequence, tokens: number): number {
  if (!job.deterministic) return tokens;
  return wholePieces(job, tokens);
}

function originOf({ job, provenance }: Sequence): Origin {
  return { scope: job.spec.cacheScope, provenance };
}

function stillWaits({ waitsFor, job }: Sequence): boolean {
  if (waitsFor === null) return false;
  const { entry, tokens } = waitsFor;
  const { sequence } = entry;
  return sequence!.entry === entry && sequence!.job.state === "running" &&
    sequence!.job.precedes(job) && sequence!.length < tokens;
}

export class PrefixSharing {
  readonly #contexts: Contexts;
  /** null: every sequence runs all of its tokens. */
  readonly #cache: PrefixCache | null;

  constructor(contexts: Contexts, cache: PrefixCache | null) {
    this.#contexts = contexts;
    this.#cache = cache;
  }

  /** Gives a sequence its context. False: it waits for another one. */
  start(sequence: Sequence): boolean {
    if (stillWaits(sequence)) return false;
    const { now, later } = this.#look(sequence);
    if (later !== null && later.tokens - (now?.tokens ?? 0) >= LEAST_AWAITED_TOKENS) {
      sequence.waitsFor = later;
      return false;
    }
    sequence.waitsFor = null;
    this.#begin(sequence, now);
    return true;
  }

  /** A step is about to run: the blocks that it takes must not lie in the cache. */
  prepare(entries: readonly BatchEntry[]): void {
    let blocks = 0;
    for (const { sequence: { job, length }, tokens } of entries) {
      blocks += blocksOfTokens(length + tokens) - blocksOfTokens(length);
      this.#report(job, length);
    }
    if (blocks > 0) this.#cache?.makeRoom(blocks, 0);
  }

  /** Tells a job, once, how much of its prompt it need not run. */
  #report(job: Job, tokens: number): void {
    if (job.started) return;
    job.started = true;
    this.#cache?.looked(job.spec.prompt.length, tokens);
    job.output.started(tokens);
  }

  /** A further choice goes on from where the root of its job is. */
  fork(root: Sequence, sequence: Sequence): void {
    const { context, provenance, length, job } = root;
    this.#cache?.makeRoom(length % BLOCK_TOKENS === 0 ? 0 : 1);
    const source = { context: context!, provenance };
    sequence.context = this.#contexts.fork(source, length, sequence.provenance, job);
    sequence.length = length;
  }

  /** Blocks that a sequence would not need, because a job holds them that it may share with. */
  gift(sequence: Sequence): number {
    if (this.#cache === null || this.#contexts.busy || !sequence.job.sharesBlocks) return 0;
    const { now } = this.#look(sequence);
    if (now === null) return 0;
    return this.#contexts.blocks.sharedBy(
      now.entry.context,
      Math.floor(now.tokens / BLOCK_TOKENS),
    );
  }

  /** A sequence gives its context up. `keep`: its KV may serve others. */
  retire(sequence: Sequence, keep: boolean): void {
    const { context, entry } = sequence;
    sequence.waitsFor = null;
    if (context === null) return;
    sequence.context = null;
    sequence.entry = null;
    if (entry !== null) this.#cache!.withdraw(entry);
    const cache = keep ? this.#cache : null;
    if (cache === null) return this.#contexts.release(context, (id) => this.#contexts.free(id));
    const origin = originOf(sequence);
    const { job, job: { spec } } = sequence;
    const tokens = sequence.tokens(0, spec.prompt.length + sequence.generated.length);
    this.#contexts.release(context, (id) => {
      const length = this.#contexts.length(id);
      const useful = job.deterministic ? wholePieces(job, length) : length;
      if (useful < length) this.#contexts.truncate(id, useful);
      cache.keep(id, origin, tokens.subarray(0, useful));
    });
  }

  /** Gives up all that lies idle. */
  forget(): void {
    this.#cache?.clear();
  }

  /** Gives up what lies idle and has `lsh` tables. False: nothing has. */
  forgetTables(): boolean {
    return this.#cache?.clearTables() ?? false;
  }

  /** Whether a job holds memory of `lsh` tables. */
  hasTables(job: Job): boolean {
    return job.sequences.some(({ context }) =>
      context !== null && this.#contexts.hasTables(context)
    );
  }

  /** The most that it may take over now, and the most that older jobs are about to have. */
  #look(sequence: Sequence): { now: Candidate | null; later: Candidate | null } {
    let now: Candidate | null = null;
    let later: Candidate | null = null;
    let mostWorth = 0;
    const most = mostShared(sequence);
    if (this.#cache === null || most < LEAST_CACHED_TOKENS) return { now, later };
    const { job, provenance } = sequence;
    const wanted = sequence.tokens(0, most);
    for (const { value: entry, common } of this.#cache.matches(job.spec.cacheScope, wanted)) {
      const there = asFed(sequence, Math.min(common, entry.offers(provenance, "now")));
      const worth = there + (this.#wouldShareTables(job, entry) ? TABLES_IN_TOKENS : 0);
      if (there >= LEAST_CACHED_TOKENS && worth > mostWorth) {
        mostWorth = worth;
        now = { entry, tokens: there };
      }
      const other = entry.sequence?.job;
      if (other === undefined || other.state !== "running" || !other.precedes(job)) continue;
      const hoped = asFed(sequence, Math.min(common, entry.offers(provenance, "later")));
      if (hoped > (later?.tokens ?? there)) later = { entry, tokens: hoped };
    }
    return { now, later };
  }

  /** `lsh` tables of the prefix come with it. */
  #wouldShareTables(job: Job, { context }: Entry): boolean {
    return !job.sharesBlocks && this.#contexts.hasTables(context);
  }

  #begin(sequence: Sequence, from: Candidate | null): void {
    const tokens = from === null ? 0 : this.#share(sequence, from);
    if (tokens === 0) {
      this.#cache?.makeRoom(0);
      sequence.context = this.#contexts.create(sequence.job);
    }
    sequence.length = tokens;
    if (this.#cache === null) return;
    sequence.entry = this.#cache.announce(sequence.context!, originOf(sequence), sequence);
  }

  /**
   * Forks the source, or takes it over where there is no room for both: less than a block is lost then.
   * Returns the tokens that the sequence has.
   */
  #share(sequence: Sequence, { entry, tokens }: Candidate): number {
    const cache = this.#cache!;
    const { job, provenance } = sequence;
    cache.touch(entry);
    const whole = asFed(sequence, Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS);
    const fork = (length: number) => {
      sequence.context = this.#contexts.fork(
        { context: entry.context, provenance: entry.origin.provenance },
        length,
        provenance,
        job,
      );
      return length;
    };
    if (cache.makeRoom(tokens % BLOCK_TOKENS === 0 ? 0 : 1, 1, entry)) return fork(tokens);
    if (whole === 0 || whole % BLOCK_TOKENS !== 0) return 0;
    if (cache.makeRoom(0, 1, entry)) return fork(whole);
    if (entry.sequence !== null || entry.held) return 0;
    sequence.context = cache.take(entry, whole);
    this.#contexts.blocks.own(sequence.context, job);
    return whole;
  }
}
