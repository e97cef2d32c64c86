// SPDX-License-Identifier: Apache-2.0
/** Strings: lengths, patterns and formats. */
import { Failure } from "../../errors.ts";
import { type Node, repeat } from "../grammar.ts";
import { asJson, quoted, STRING_CHARACTER } from "../json_grammar.ts";
import { parseRegex, parseSearch } from "../regex.ts";
import { type Conversion, countOf, refuseSchema, type Schema } from "./schema.ts";

const DATE =
  "\\d{4}-((0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)";
const TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
const CLOCK = "T(\\d{1,5}H(\\d{1,5}M(\\d{1,5}S)?)?|\\d{1,5}M(\\d{1,5}S)?|\\d{1,5}S)";
const LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
const HOST = `${LABEL}(\\.${LABEL}){0,5}`;
const BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const PATH = "[A-Za-z0-9._~!$&'()*+,;=:@-]";

/** Formats that are enforced: texts that every reader takes for valid, not all that the standards allow. */
const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: `P(\\d{1,5}W|\\d{1,5}D(${CLOCK})?|\\d{1,5}M(\\d{1,5}D)?(${CLOCK})?` +
    `|\\d{1,5}Y(\\d{1,5}M(\\d{1,5}D)?)?(${CLOCK})?|${CLOCK})`,
  email:
    `[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,30})?@${LABEL}(\\.${LABEL}){0,3}\\.[A-Za-z]{2,10}`,
  hostname: HOST,
  ipv4: `(${BYTE}\\.){3}${BYTE}`,
  ipv6: "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  uri:
    `https?://${HOST}(:[1-9]\\d{0,3})?(/${PATH}{1,100}){0,8}/?(\\?${PATH}{1,100})?(#${PATH}{1,100})?`,
};

/** The formats that are enforced. */
export const KNOWN_FORMATS = Object.keys(FORMATS);

export function stringNode(schema: Schema, to: Conversion, path: string): Node {
  const { pattern, format } = schema;
  const min = countOf(schema, "minLength", path, 0);
  const most = countOf(schema, "maxLength", path, Infinity);
  // Nobody waits for longer ones.
  const max = most > 1_000_000 ? Infinity : most;
  if (max < min) refuseSchema('has a "maxLength" below its "minLength"', path);
  if (pattern !== undefined && typeof pattern !== "string") {
    refuseSchema('has a "pattern" that isn\'t a string', path);
  }
  const regex = formatOf(format, to, path);
  const bounded = min > 0 || max < Infinity;
  if (bounded && (pattern !== undefined || regex !== null)) {
    const other = pattern === undefined ? "format" : "pattern";
    to.unsupported(`has "minLength" or "maxLength" beside "${other}", which isn't supported`, path);
  }
  if (pattern !== undefined && regex !== null) {
    to.unsupported('has "pattern" beside "format", which isn\'t supported', path);
  }
  const content = pattern === undefined ? null : patternNode(pattern, to, path);
  if (content !== null) return quoted(asJson(content));
  if (regex !== null) return quoted(asJson(parseRegex(regex)));
  return bounded ? quoted(repeat(STRING_CHARACTER, min, max)) : to.json.string;
}

function formatOf(format: unknown, { strictness }: Conversion, path: string): string | null {
  if (format === undefined) return null;
  if (typeof format === "string" && Object.hasOwn(FORMATS, format)) return FORMATS[format]!;
  // A format is a remark unless it is known, says JSON schema; who wants it enforced says strict.
  if (strictness !== "strict") return null;
  return refuseSchema(
    `has the "format" ${JSON.stringify(format)}, which isn't supported: there are ` +
      KNOWN_FORMATS.join(", "),
    path,
  );
}

/** null: left aside. */
function patternNode(pattern: string, to: Conversion, path: string): Node | null {
  try {
    return parseSearch(pattern);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    to.unsupported(`has a "pattern" that ${error.message}`, path);
    return null;
  }
}
