// SPDX-License-Identifier: Apache-2.0
/** What every route gets, and the limits of the HTTP layer. */
import type { Context as HonoContext } from "hono";
import type { Service } from "../src/types.ts";
import type { Metrics } from "./metrics.ts";
import type { Page } from "./page.ts";
import type { RequestEntry, RequestRecord } from "./request_record.ts";

/** Options of `createApp`. */
export interface AppOptions {
  /** Shown by `/version`. */
  version: string;
  /** Clients must send one of them as a bearer token; none: everybody may ask. */
  apiKeys?: readonly string[];
  /** Requests of different keys share cached KV, which lets timing tell what others asked. */
  sharedCache?: boolean;
  /** Origins whose web pages may use the server besides its own; "*": all. */
  corsOrigins?: readonly string[];
  /** The server listens on this machine only (default: true). */
  localOnly?: boolean;
  /** Further names under which the model may be asked for. */
  modelAliases?: readonly string[];
  /** Longest request body (default 32 MiB: a prompt of a million tokens takes 5 to 10). */
  maxBodyBytes?: number;
  /**
   * Seconds of silence after which a stream gets a comment (a whole answer that has begun: white space), so that proxies and clients keep it open
   * (default 10). 0: no comments, and an answer's role rides with its first token instead of going out
   * at once, so that benchmark clients, which take the first event for the first token, measure right.
   */
  pingSeconds?: number;
  /**
   * An answer without `stream` that isn't there after so many milliseconds begins, with white space, so that
   * a client that leaves is noticed (default 1500; never where `pingSeconds` is 0). Errors before that have a
   * status of their own.
   */
  earlyMs?: number;
  /** Where bugs and engine failures are reported (default: stderr). */
  log?: (line: string) => void;
  /** Told of each request when it has ended; not of those that only ask how the server is. */
  logRequest?: (entry: RequestEntry) => void;
  /** What `/metrics` shows (default: only what the routes count). */
  metrics?: Metrics;
  /** The playground; null: there is none. */
  page?: Page | null;
}

/** What the routes share. */
export interface Deps {
  service: Service;
  options: Required<AppOptions>;
}

/** Variables of a request in Hono's context. */
export interface Env {
  Variables: {
    requestId: string;
    record: RequestRecord;
    /** The path as the app names it. */
    route: string;
    /** What the error that is the answer is called in log and metrics. */
    error?: string;
    /** Only requests of the same scope may share KV. */
    cacheScope: string;
  };
}

/** A request being answered. */
export type Context = HonoContext<Env>;

/** A route. */
export type Handler = (c: Context) => Response | Promise<Response>;
