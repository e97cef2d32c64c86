// SPDX-License-Identifier: Apache-2.0
/** Builds the playground into build/web: one script, one stylesheet, the page and its icon. */
import type { Plugin } from "esbuild";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname);
const SOURCE = `${ROOT}web`;
const TARGET = `${ROOT}build/web`;

/** esbuild doesn't read deno.json: it asks here where packages lie. */
const packages: Plugin = {
  name: "packages",
  setup(build) {
    build.onResolve({ filter: /^[a-z@]/ }, ({ kind, path }) => {
      if (kind === "entry-point") return null;
      return { path: decodeURIComponent(new URL(import.meta.resolve(path)).pathname) };
    });
  },
};

/** Whether the page is there and no older than its sources. */
async function isBuilt(): Promise<boolean> {
  const modified = (path: string) => Deno.stat(path).then(({ mtime }) => mtime!.getTime());
  try {
    const built = await modified(`${TARGET}/app.js`);
    for (const path of [SOURCE, `${ROOT}deno.json`, import.meta.filename!]) {
      if (await modified(path) > built) return false;
    }
    for await (const { name } of Deno.readDir(SOURCE)) {
      if (await modified(`${SOURCE}/${name}`) > built) return false;
    }
    return true;
  } catch {
    return false;
  }
}

async function bundle(): Promise<void> {
  // Only here: `deno task start` comes by each time.
  const esbuild = await import("esbuild");
  try {
    await esbuild.build({
      entryPoints: [`${SOURCE}/app.ts`, `${SOURCE}/style.css`],
      outdir: TARGET,
      bundle: true,
      minify: true,
      format: "esm",
      target: ["chrome123", "firefox121", "safari17.5"],
      plugins: [packages],
      logLevel: "silent",
    });
    for (const name of ["index.html", "icon.svg"]) {
      await Deno.copyFile(`${SOURCE}/${name}`, `${TARGET}/${name}`);
    }
  } finally {
    await esbuild.stop();
  }
}

/** Builds the playground unless it is up to date. The server does without it where that fails. */
export async function buildWeb(): Promise<boolean> {
  if (await isBuilt()) return true;
  try {
    await bundle();
    return true;
  } catch (error) {
    console.error(`Cannot build the playground: ${(error as Error).message}`);
    return false;
  }
}

if (import.meta.main && !await buildWeb()) Deno.exit(1);
