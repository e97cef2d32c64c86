// SPDX-License-Identifier: Apache-2.0
/** Numbers within bounds, digit by digit. */
import { choice, EMPTY, type Node, repeat, sequence, text } from "../grammar.ts";
import { DIGIT } from "../json_grammar.ts";
import { type Conversion, refuseSchema, type Schema } from "./schema.ts";

/** Digits before the point and behind it, as in JSON without bounds. */
const MOST_DIGITS = 15;
const TOO_LARGE = 10 ** MOST_DIGITS;

/** An end of a range. `value` is never negative; Infinity: no end. */
interface Bound {
  value: number;
  /** The value itself is outside. */
  open: boolean;
}

const NEVER: Node = { kind: "choice", items: [] };
const ZERO: Bound = { value: 0, open: false };

/** Numbers of a schema with the type number or integer. */
export function numberNode(
  schema: Schema,
  integer: boolean,
  conversion: Conversion,
  path: string,
): Node {
  const { json } = conversion;
  const digits = fractionDigits(schema, integer, conversion, path);
  const low = lowerBound(schema, path);
  const high = upperBound(schema, path);
  if (low === null && high === null && (digits === 0 || digits === MOST_DIGITS)) {
    return digits === 0 ? json.integer : json.number;
  }
  const parts: Node[] = [];
  if (high === null || high.value > 0 || (high.value === 0 && !high.open)) {
    const from = low === null || low.value < 0 ? ZERO : low;
    parts.push(between(from, high ?? { value: Infinity, open: false }, digits));
  }
  if (low === null || low.value < 0) {
    // -0 is left to 0.
    const to = low === null ? { value: Infinity, open: false } : { ...low, value: -low.value };
    const from = high === null || high.value >= 0 ? { value: 0, open: true } : high;
    parts.push(sequence(text("-"), between({ ...from, value: Math.abs(from.value) }, to, digits)));
  }
  return choice(...parts);
}

/** Digits behind the point that `multipleOf` leaves. */
function fractionDigits(
  schema: Schema,
  integer: boolean,
  conversion: Conversion,
  path: string,
): number {
  const multiple = schema["multipleOf"];
  if (multiple === undefined) return integer ? 0 : MOST_DIGITS;
  for (let digits = 0; digits < MOST_DIGITS; digits++) {
    if (multiple === Number(`1e-${digits}`)) return integer ? 0 : digits;
  }
  conversion.unsupported(
    "has a \"multipleOf\" that isn't 1, 0.1, 0.01 or so, which isn't supported",
    path,
  );
  return integer ? 0 : MOST_DIGITS;
}

function boundOf(schema: Schema, keyword: string, open: boolean, path: string): Bound | null {
  const value = schema[keyword];
  if (value === undefined) return null;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    return refuseSchema(`has a "${keyword}" that isn't a number`, path);
  }
  return { value, open };
}

function lowerBound(schema: Schema, path: string): Bound | null {
  const closed = boundOf(schema, "minimum", false, path);
  const open = boundOf(schema, "exclusiveMinimum", true, path);
  const bound = closed === null || (open !== null && open.value >= closed.value) ? open : closed;
  if (bound !== null && bound.value >= TOO_LARGE) {
    refuseSchema(`asks for numbers from 10^${MOST_DIGITS} up, which isn't supported`, path);
  }
  return bound === null || bound.value <= -TOO_LARGE ? null : bound;
}

function upperBound(schema: Schema, path: string): Bound | null {
  const closed = boundOf(schema, "maximum", false, path);
  const open = boundOf(schema, "exclusiveMaximum", true, path);
  const bound = closed === null || (open !== null && open.value <= closed.value) ? open : closed;
  if (bound !== null && bound.value <= -TOO_LARGE) {
    refuseSchema(`asks for numbers down from -10^${MOST_DIGITS}, which isn't supported`, path);
  }
  return bound === null || bound.value >= TOO_LARGE ? null : bound;
}

/** The digits before and behind the point. */
function decimal(value: number): { whole: number; fraction: string } {
  const [whole, fraction = ""] = value.toString().includes("e")
    ? value.toFixed(20).replace(/0+$/, "").split(".")
    : value.toString().split(".");
  return { whole: Number(whole), fraction };
}

/**
 * Numbers without sign from one bound to the other. They have so few digits that none is rounded to a bound, or past
 * it, when it becomes a double.
 */
function between(low: Bound, high: Bound, digits: number): Node {
  const from = decimal(low.value);
  const lowEnd = { digits: from.fraction, open: low.open };
  const left = (whole: number) => Math.max(0, Math.min(digits, MOST_DIGITS - String(whole).length));
  if (high.value === Infinity) {
    return choice(
      sequence(text(String(from.whole)), fraction(lowEnd, null, left(from.whole))),
      sequence(naturals(from.whole + 1, Infinity), fraction(null, null, digits)),
    );
  }
  const to = decimal(high.value);
  const highEnd = { digits: to.fraction, open: high.open };
  if (from.whole > to.whole) return NEVER;
  const most = left(to.whole);
  if (from.whole === to.whole) {
    return sequence(text(String(from.whole)), fraction(lowEnd, highEnd, most));
  }
  return choice(
    sequence(text(String(from.whole)), fraction(lowEnd, null, most)),
    sequence(naturals(from.whole + 1, to.whole - 1), fraction(null, null, most)),
    sequence(text(String(to.whole)), fraction(null, highEnd, most)),
  );
}

/** Whole numbers from `low` to `high` without leading zeros. */
function naturals(low: number, high: number): Node {
  const parts: Node[] = [];
  for (let length = String(low).length; length <= MOST_DIGITS; length++) {
    const first = Math.max(low, length === 1 ? 0 : 10 ** (length - 1));
    const last = Math.min(high, 10 ** length - 1);
    if (first > last) continue;
    parts.push(sameLength(String(first), String(last)));
  }
  return { kind: "choice", items: parts };
}

function digitRange(from: number, to: number): Node {
  return from > to ? NEVER : { kind: "class", ranges: [[0x30 + from, 0x30 + to]] };
}

function sameLength(low: string, high: string): Node {
  const rest = low.length - 1;
  const [from, to] = [Number(low[0]), Number(high[0])];
  if (rest === 0) return digitRange(from, to);
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (from === to) return sequence(digitRange(from, from), sameLength(lowRest, highRest));
  const least = /^0*$/.test(lowRest);
  const most = /^9*$/.test(highRest);
  const parts: Node[] = [];
  const [first, last] = [least ? from : from + 1, most ? to : to - 1];
  if (!least) {
    parts.push(sequence(digitRange(from, from), sameLength(lowRest, "9".repeat(rest))));
  }
  if (first <= last) parts.push(sequence(digitRange(first, last), repeat(DIGIT, rest, rest)));
  if (!most) parts.push(sequence(digitRange(to, to), sameLength("0".repeat(rest), highRest)));
  return choice(...parts);
}

/** An end of a range of fractions; digits without zeros at the end. */
interface FractionEnd {
  digits: string;
  open: boolean;
}

/** A point and digits, or nothing, so that the fraction lies between the ends; null: no end. */
function fraction(low: FractionEnd | null, high: FractionEnd | null, digits: number): Node {
  const whole = mayEnd(0, low, high) ? [EMPTY] : [];
  if (digits === 0) return { kind: "choice", items: whole };
  const more = fractionDigit(0, low, high, digits);
  return { kind: "choice", items: [...whole, sequence(text("."), more)] };
}

/** The text may end after `at` digits that are those of the ends that are not null. */
function mayEnd(at: number, low: FractionEnd | null, high: FractionEnd | null): boolean {
  const enough = low === null || (at >= low.digits.length && !low.open);
  return enough && (high === null || at < high.digits.length || !high.open);
}

function fractionDigit(
  at: number,
  low: FractionEnd | null,
  high: FractionEnd | null,
  left: number,
): Node {
  if (left === 0) return NEVER;
  if (low === null && high === null) return repeat(DIGIT, 1, left);
  const least = low === null ? 0 : Number(low.digits[at] ?? 0);
  const most = high === null ? 9 : Number(high.digits[at] ?? 0);
  const parts: Node[] = [];
  for (let digit = least; digit <= most; digit++) {
    const nextLow = low !== null && digit === least ? low : null;
    const nextHigh = high !== null && digit === most ? high : null;
    const ends = mayEnd(at + 1, nextLow, nextHigh) ? [EMPTY] : [];
    const more = fractionDigit(at + 1, nextLow, nextHigh, left - 1);
    const rest: Node = { kind: "choice", items: [...ends, more] };
    parts.push(sequence(digitRange(digit, digit), rest));
  }
  return { kind: "choice", items: parts };
}
