// SPDX-License-Identifier: Apache-2.0
/**
 * The composition root: command line → library → model → engine → service → app → serve, and shutdown in
 * reverse. Everything is made here and handed down; nothing below reaches up.
 */
import { NativeEngine } from "./ffi/engine.ts";
import { deviceMemory, machineFigures, openLibrary } from "./ffi/library.ts";
import { createApp } from "./routes/app.ts";
import { isLocal } from "./routes/browsers.ts";
import { HttpServer } from "./routes/http_server.ts";
import { Metrics } from "./routes/metrics.ts";
import { readPage } from "./routes/page.ts";
import { entryText } from "./routes/request_record.ts";
import { helpText, type Options, parseCommandLine } from "./src/cli.ts";
import { CPU } from "./src/engine/settings.ts";
import { Failure } from "./src/errors.ts";
import { readKeys } from "./src/keys.ts";
import { createLog, type Log } from "./src/log.ts";
import type { ModelSource } from "./src/model/model.ts";
import { dummyModel, openModel } from "./src/model/source.ts";
import { planFor, type ServerPlan } from "./src/plan.ts";
import { planSummary, planText } from "./src/plan_text.ts";
import { ModelService } from "./src/service.ts";
import { SessionFolder } from "./src/sessions/folder.ts";
import { openSessions } from "./src/sessions/open.ts";
import { loadTextProcessor } from "./src/tokenizer/load.ts";
import { VERSION } from "./src/version.ts";

const EMBEDDED_MODEL = decodeURIComponent(new URL("./models/recall", import.meta.url).pathname);
const PLAYGROUND = decodeURIComponent(new URL("./build/web", import.meta.url).pathname);
/** Signals closer than this are one: a terminal and the start script both send them. */
const SAME_SIGNAL_MS = 500;

async function find(options: Options): Promise<{ source: ModelSource; plan: ServerPlan }> {
  const source = options.dummyWeights === null
    ? await openModel(options.model!)
    : await dummyModel(options.dummyWeights);
  const library = openLibrary();
  const machine = machineFigures(library);
  try {
    if (options.device !== CPU) machine.device = deviceMemory(library, options.device);
  } finally {
    library.close();
  }
  return { source, plan: planFor(source.config, options, machine) };
}

/** A line that is rewritten on a terminal, and printed at most every few seconds elsewhere. */
function progressLine(what: string, log: Log): (share: number) => void {
  const isTerminal = log.format === "text" && Deno.stderr.isTerminal();
  let last = performance.now();
  return (share) => {
    const text = `${what} … ${Math.round(100 * share)}%`;
    if (isTerminal) {
      Deno.stderr.writeSync(
        new TextEncoder().encode(`\r${text}\x1b[K${share === 1 ? "\r\x1b[K" : ""}`),
      );
    } else if (performance.now() - last > 2000) {
      last = performance.now();
      log.info(text);
    }
  };
}

async function load(
  service: ModelService,
  options: Options,
  log: Log,
  signal: AbortSignal,
): Promise<string> {
  // Before gigabytes are read: another server may have the folder.
  const folder = options.sessions === null ? null : await SessionFolder.open(options.sessions);
  const { source, plan } = await find(options);
  const show = progressLine(`Loading ${source.name}`, log);
  const [engine, text] = await Promise.all([
    NativeEngine.open(source, {
      ...plan.settings,
      signal,
      onProgress: (share) => {
        service.progress(share);
        show(share);
      },
    }),
    loadTextProcessor(source.tokenizer, {
      endTokens: source.endTokens,
      chatTemplate: source.chatTemplate,
      vocabulary: source.config.vocabulary,
    }),
  ]);
  show(1);
  const id = options.name ?? source.name;
  const loaded = { source, settings: plan.settings, engine };
  const sessions = folder && await openSessions(folder, options.sessionsBytes, loaded, log.info);
  service.ready({ engine, text, model: { id }, attention: plan.policy, sessions });
  const lines = [`  model    ${id}`, planSummary(plan), `  computes ${engine.info().text}`];
  if (sessions !== null) lines.push(`  sessions ${sessions.count} in ${options.sessions}`);
  return lines.join("\n");
}

function listen(app: ReturnType<typeof createApp>, options: Options, log: Log): HttpServer {
  const address = { hostname: options.host, port: options.port };
  try {
    return new HttpServer((request, info) => app.fetch(request, info), address, log.error);
  } catch (error) {
    const where = `${options.host}:${options.port}`;
    if (error instanceof Deno.errors.AddrInUse) {
      throw new Failure(
        "invalid",
        `Cannot listen on ${where}: it is in use. Choose another --port.`,
      );
    }
    throw new Failure("invalid", `Cannot listen on ${where}: ${(error as Error).message}`);
  }
}

/** The request to paste: on the embedded model a question about a document, elsewhere a greeting. */
function exampleRequest(url: string, service: ModelService, options: Options): string {
  const { id, hasChatTemplate } = service.model();
  const open = options.apiKeys.length === 0 && options.apiKeyFile === null;
  const key = open ? "" : ` -H 'Authorization: Bearer YOUR_KEY'`;
  const question = options.model === EMBEDDED_MODEL
    ? "Ada keeps the lamp. The secret code for the harbour gate is: 5273107. Ben rows.\\n" +
      "What is the secret code for the harbour gate?"
    : "Say hello.";
  const [path, input] = hasChatTemplate
    ? ["chat/completions", `"messages":[{"role":"user","content":"${question}"}]`]
    : ["completions", `"prompt":"${question}"`];
  return `  curl -N ${url}/v1/${path}${key} -d '{"model":"${id}","stream":true,"temperature":0,${input}}'`;
}

async function serve(options: Options): Promise<number> {
  const log = createLog(options.log, options.quiet);
  const metrics = new Metrics();
  const service = new ModelService({
    maxWaiting: options.queue,
    deterministic: options.deterministic,
    timeoutMs: 1000 * options.requestTimeoutSeconds,
    stepMs: options.stepMs,
    prefixCache: options.prefixCache,
    observer: metrics,
  });
  const fileKeys = options.apiKeyFile === null ? [] : await readKeys(options.apiKeyFile);
  const page = await readPage(PLAYGROUND);
  const app = createApp(service, {
    apiKeys: [...options.apiKeys, ...fileKeys],
    sharedCache: options.sharedCache,
    corsOrigins: options.cors,
    localOnly: isLocal(options.host),
    pingSeconds: options.pingSeconds,
    version: VERSION,
    metrics,
    page,
    log: log.error,
    logRequest: (entry) => log.request(entry, entryText(entry)),
  });
  const server = listen(app, options, log);
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;
  const url = `http://${host}:${server.port}`;
  log.info(`Sounder ${VERSION} on ${url} (loading)`);
  const stopping = new AbortController();
  const stopped = onSignals(stopping);
  let lost: string | null = null;
  try {
    const summary = await load(service, options, log, stopping.signal);
    if (!stopping.signal.aborted) {
      const look = page === null ? "Try" : "Open the address in a browser, or try";
      const example = exampleRequest(url, service, options);
      log.info(`${summary}\n  address  ${url}\nReady. ${look}:\n\n${example}\n`);
      lost = await Promise.race([stopped, service.lost]);
      if (lost === null) log.info("Stopping: running requests may finish …");
      else log.error(lost);
    }
  } catch (error) {
    if (!stopping.signal.aborted) {
      service.fail(error instanceof Error ? error.message : String(error));
      await server.shutdown();
      throw error;
    }
  }
  await service.drain(1000 * options.drainSeconds);
  await Promise.race([server.shutdown(), new Promise((done) => setTimeout(done, 1000))]);
  await service.close();
  log.info("Stopped.");
  return lost === null ? 0 : 1;
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
function onSignals(stopping: AbortController): Promise<null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  let first = 0;
  const handle = () => {
    if (first === 0) {
      first = performance.now();
      stopping.abort();
      resolve(null);
    } else if (performance.now() - first > SAME_SIGNAL_MS) {
      Deno.exit(130);
    }
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, handle);
  return promise;
}

async function printPlan(options: Options): Promise<number> {
  const { source, plan } = await find(options);
  console.log(`  model      ${options.name ?? source.name}\n${planText(source.config, plan)}`);
  return 0;
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseCommandLine(args, {
    model: EMBEDDED_MODEL,
    apiKey: Deno.env.get("SOUNDER_API_KEY") ?? null,
  });
  switch (options.command) {
    case "help":
      console.log(helpText());
      return 0;
    case "version":
      console.log(`sounder ${VERSION}`);
      return 0;
    case "plan":
      return await printPlan(options);
    case "serve":
      return await serve(options);
  }
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(error.message);
    Deno.exit(error.kind === "engine" ? 1 : 2);
  }
}
