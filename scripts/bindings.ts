// SPDX-License-Identifier: Apache-2.0
/**
 * Generates ffi/symbols.ts from native/include/sounder.h, which is the only truth about the ABI.
 *
 *   deno task bindings           write it
 *   deno task bindings --check   fail when it is not what the header says
 */

const HEADER = new URL("../native/include/sounder.h", import.meta.url);
const SYMBOLS = new URL("../ffi/symbols.ts", import.meta.url);

interface Parameter {
  name: string;
  type: string;
}

interface Declaration {
  name: string;
  blocking: boolean;
  result: string;
  parameters: Parameter[];
}

const SCALARS: Record<string, string> = {
  "int32_t": "i32",
  "uint32_t": "u32",
  "int64_t": "i64",
  "float": "f32",
  "void": "void",
};

/** C type to Deno's: scalars by table, the opaque handle a pointer, every array a buffer. */
function denoType(type: string, where: string): string {
  const bare = type.replace(/\bconst\b/g, "").replace(/\s+/g, " ").trim();
  if (/^sounder_engine ?\*$/.test(bare)) return "pointer";
  if (/^(u?int8_t|u?int32_t|int64_t|float) ?\*$/.test(bare)) return "buffer";
  const scalar = SCALARS[bare];
  if (scalar === undefined) throw new Error(`${where}: the bindings have no word for "${type}"`);
  return scalar;
}

function parseParameters(text: string, where: string): Parameter[] {
  if (text.trim() === "void" || text.trim() === "") return [];
  return text.split(",").map((parameter) => {
    const match = parameter.trim().match(/^(.*?[\s*])(\w+)$/s);
    if (match === null) throw new Error(`${where}: cannot read parameter "${parameter.trim()}"`);
    return { name: match[2]!, type: denoType(match[1]!, `${where}, ${match[2]}`) };
  });
}

function parseDeclarations(header: string): Declaration[] {
  const pattern = /(?:\/\*((?:(?!\*\/).)*)\*\/\s*)?SOUNDER_API\s+([^;(]*?)(\w+)\(([^;]*?)\);/gs;
  return [...header.matchAll(pattern)].map(([, comment, result, name, parameters]) => ({
    name: name!,
    blocking: comment?.trimStart().startsWith("blocking:") ?? false,
    result: denoType(result!, name!),
    parameters: parseParameters(parameters!, name!),
  }));
}

/** `#define NAME number` and the members of every enum, in the order of the header. */
function parseConstants(header: string): [string, string][] {
  const code = header.replace(/\/\*.*?\*\//gs, "");
  const pattern = /#define (SOUNDER_\w+) (-?\d+)\s*$|^\s*(SOUNDER_\w+) = (-?\d+),?\s*$/gm;
  return [...code.matchAll(pattern)].map((m) => [(m[1] ?? m[3])!, (m[2] ?? m[4])!]);
}

function emitSymbol(declaration: Declaration): string {
  const parameters = declaration.parameters.map((p) => `/* ${p.name} */ "${p.type}"`).join(", ");
  const nonblocking = declaration.blocking ? ` nonblocking: true,` : "";
  return `  ${declaration.name}: { parameters: [${parameters}], result: "${declaration.result}",${nonblocking} },`;
}

function emit(header: string): string {
  const constants = parseConstants(header).map(([name, value]) =>
    `export const ${name.replace(/^SOUNDER_/, "")} = ${value};`
  );
  return [
    "// SPDX-License-Identifier: Apache-2.0",
    "// Generated from native/include/sounder.h by `deno task bindings`. Do not edit.",
    "",
    ...constants,
    "",
    "export const SYMBOLS = {",
    ...parseDeclarations(header).map(emitSymbol),
    "} as const satisfies Deno.ForeignLibraryInterface;",
    "",
  ].join("\n");
}

async function format(source: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--ext", "ts", "-"],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}

const generated = await format(emit(await Deno.readTextFile(HEADER)));
if (Deno.args.includes("--check")) {
  const current = await Deno.readTextFile(SYMBOLS).catch(() => "");
  if (current !== generated) {
    console.error(
      "ffi/symbols.ts is not what native/include/sounder.h says: run `deno task bindings`",
    );
    Deno.exit(1);
  }
} else {
  await Deno.writeTextFile(SYMBOLS, generated);
}
