// SPDX-License-Identifier: Apache-2.0
/** Dates as chat templates write them: Python's strftime in English, whatever the machine's language. */

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

function padded(value: number, width = 2): string {
  return String(value).padStart(width, "0");
}

function dayOfYear(date: Date): number {
  const start = Date.UTC(date.getFullYear(), 0, 1);
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return (day - start) / 86_400_000 + 1;
}

/** Unknown directives stay as they are. */
export function strftime(date: Date, format: string): string {
  const hour12 = date.getHours() % 12 || 12;
  const directives: ReadonlyMap<string, () => string> = new Map([
    ["Y", () => String(date.getFullYear())],
    ["y", () => padded(date.getFullYear() % 100)],
    ["m", () => padded(date.getMonth() + 1)],
    ["d", () => padded(date.getDate())],
    ["e", () => String(date.getDate()).padStart(2)],
    ["B", () => MONTHS[date.getMonth()]!],
    ["b", () => MONTHS[date.getMonth()]!.slice(0, 3)],
    ["A", () => DAYS[date.getDay()]!],
    ["a", () => DAYS[date.getDay()]!.slice(0, 3)],
    ["H", () => padded(date.getHours())],
    ["I", () => padded(hour12)],
    ["M", () => padded(date.getMinutes())],
    ["S", () => padded(date.getSeconds())],
    ["p", () => date.getHours() < 12 ? "AM" : "PM"],
    ["j", () => padded(dayOfYear(date), 3)],
    ["F", () => strftime(date, "%Y-%m-%d")],
    ["T", () => strftime(date, "%H:%M:%S")],
    ["%", () => "%"],
  ]);
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, dash: string, letter: string) => {
    const text = directives.get(letter)?.();
    if (text === undefined) return whole;
    return dash ? text.replace(/^[0 ]+(?=.)/, "") : text;
  });
}
