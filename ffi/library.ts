// SPDX-License-Identifier: Apache-2.0
/** Finds and opens libsounder.so, and makes sure that it is the one that these bindings are for. */
import { Failure } from "../src/errors.ts";
import type { DeviceMemory, Machine } from "../src/engine/settings.ts";
import {
  ABI_VERSION,
  DEVICE_COUNT,
  DEVICE_MEMORY_FREE,
  DEVICE_MEMORY_TOTAL,
  MACHINE_CORES,
  MACHINE_COUNT,
  MACHINE_MEMORY_AVAILABLE,
  MACHINE_MEMORY_TOTAL,
  SYMBOLS,
} from "./symbols.ts";

export type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

const BUILT = new URL("../build/release/libsounder.so", import.meta.url);

/** Where the library lies: what SOUNDER_LIBRARY names, otherwise where `deno task build` puts it. */
export function libraryPath(): string {
  const override = Deno.env.get("SOUNDER_LIBRARY");
  if (override !== undefined && override !== "") {
    return override.startsWith("/") ? override : `${Deno.cwd()}/${override}`;
  }
  return decodeURIComponent(BUILT.pathname);
}

/**
 * Opens the library.
 * @throws {Failure} kind `engine` when it is missing, cannot be loaded, or has another ABI version.
 */
export function openLibrary(path: string = libraryPath()): Library {
  let library: Library;
  try {
    library = Deno.dlopen(path, SYMBOLS);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(
      "engine",
      `Cannot open the native library ${path}: ${reason}. \`deno task build\` builds it.`,
      { cause },
    );
  }
  const version = library.symbols.sounder_abi_version();
  if (version !== ABI_VERSION) {
    library.close();
    throw new Failure(
      "engine",
      `${path} has ABI version ${version}, these bindings are for ${ABI_VERSION}. ` +
        "Rebuild it with `deno task build`.",
    );
  }
  return library;
}

/**
 * Native reads do not pass Deno's permissions, so they are asked for here.
 * @throws {Failure} kind `model` that names the file and the flag.
 */
export async function requireReadable(files: readonly string[]): Promise<void> {
  for (const path of files) {
    const { state } = await Deno.permissions.query({ name: "read", path });
    if (state !== "granted") {
      throw new Failure("model", `Cannot read ${path}: start with --allow-read=${path}`);
    }
  }
}

/** What this process may use of the machine. Memory in bytes, the cgroup's where that is less. */
export function machineFigures(library: Library): Machine {
  const figures = new BigInt64Array(MACHINE_COUNT);
  const status = library.symbols.sounder_machine_figures(figures, figures.length);
  if (status !== 0) throw new Failure("engine", "Cannot read how much memory this machine has.");
  return {
    memoryTotal: Number(figures[MACHINE_MEMORY_TOTAL]),
    memoryAvailable: Number(figures[MACHINE_MEMORY_AVAILABLE]),
    cores: Number(figures[MACHINE_CORES]),
  };
}

/**
 * Memory of a GPU.
 * @throws {Failure} kind `engine` that says what is missing: the GPU, its driver, or a build for it
 */
export function deviceMemory({ symbols }: Library, device: number): DeviceMemory {
  const engine = symbols.sounder_create();
  if (engine === null) throw new Failure("memory", "The system refused memory for an engine.");
  try {
    const figures = new BigInt64Array(DEVICE_COUNT);
    if (symbols.sounder_device_figures(engine, device, figures, figures.length) !== 0) {
      const bytes = new Uint8Array(2048);
      const length = symbols.sounder_error_text(engine, bytes, bytes.length);
      throw new Failure("engine", new TextDecoder().decode(bytes.subarray(0, length)));
    }
    return {
      total: Number(figures[DEVICE_MEMORY_TOTAL]),
      free: Number(figures[DEVICE_MEMORY_FREE]),
    };
  } finally {
    symbols.sounder_close(engine);
  }
}
