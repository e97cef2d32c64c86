// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { placeLabels } from "../../bench/figures/labels.ts";
import { chartSvg, escapeText, type Panel, ticksOf } from "../../bench/figures/chart.ts";

Deno.test("ticks are round, ascending and within the axis", () => {
  assertEquals(ticksOf(0, 1, false), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assertEquals(ticksOf(0.8, 0.9, false), [0.8, 0.82, 0.84, 0.86, 0.88, 0.9]);
  assertEquals(ticksOf(0.005, 0.08, true), [0.005, 0.01, 0.02, 0.05]);
  assertEquals(ticksOf(0.019, 0.042, true), [0.02, 0.03, 0.04]);
  assertEquals(ticksOf(0.021, 0.029, true), [0.022, 0.024, 0.026, 0.028]);
  assertEquals(ticksOf(1, 1e6, true), [1, 10, 100, 1e3, 1e4, 1e5, 1e6]);
  fc.assert(
    fc.property(
      fc.double({ min: 1e-9, max: 1e9, noNaN: true }),
      fc.double({ min: 1.01, max: 1e5, noNaN: true }),
      fc.boolean(),
      (low, factor, log) => {
        const ticks = ticksOf(low, low * factor, log);
        assert(ticks.length >= 2 && ticks.length <= 16, `${ticks}`);
        ticks.forEach((tick, i) => {
          assert(tick >= low * 0.998 && tick <= low * factor * 1.002);
          assert(i === 0 || tick > ticks[i - 1]!);
        });
      },
    ),
    { seed: 1 },
  );
});

const PANEL: Panel = {
  title: "a < b & c",
  x: { title: "x", log: true, percent: true },
  y: { title: "y", from: 0, to: 1 },
  series: [
    {
      name: "one",
      points: [{ x: 0.01, y: 0.5, low: 0.4, high: 0.6, label: "p" }, { x: 0.1, y: 0.7 }],
    },
    { name: "two", points: [{ x: 0.02, y: 0.2 }], line: false },
  ],
};

/** Tags that are open at the end; throws where they cross. */
function openTags(svg: string): string[] {
  const open: string[] = [];
  for (const [, close, name, rest] of svg.matchAll(/<(\/?)([a-z]+)([^>]*)>/g)) {
    if (close === "/") assertEquals(open.pop(), name);
    else if (!rest!.endsWith("/")) open.push(name!);
  }
  return open;
}

Deno.test("a chart is well formed, escapes its texts and says what its colours mean", () => {
  const svg = chartSvg([PANEL, { ...PANEL, title: "second" }]);
  assertEquals(openTags(svg), []);
  assert(svg.includes("a &lt; b &amp; c"));
  assertEquals(svg.match(/<circle /g)!.length, 2 * 3 + 2);
  assertEquals(svg.match(/>one<\/text>/g)!.length, 1);
  assert(svg.includes("prefers-color-scheme:dark"));
  assert(svg.includes(">1 %</text>"));
  assert(!/NaN|Infinity|undefined/.test(svg), svg);
});

Deno.test("as many as fourteen series are told apart", () => {
  const series = Array.from({ length: 14 }, (_, i) => ({ name: `${i}`, points: [{ x: 1, y: i }] }));
  const svg = chartSvg([{ title: "", x: { title: "x" }, y: { title: "y" }, series }]);
  const looks = [...svg.matchAll(/<circle [^>]*? r="4" ([^>]*)\/>/g)].map(([, look]) => look);
  assertEquals([looks.length, new Set(looks).size], [14, 14]);
});

Deno.test("charts of nothing, of one point and of values that a log axis cannot show are still charts", () => {
  const empty = { ...PANEL, series: [{ name: "none", points: [] }] };
  const zero = { ...PANEL, series: [{ name: "zero", points: [{ x: 0, y: 0 }] }] };
  const one = { ...PANEL, y: { title: "y" }, series: [{ name: "p", points: [{ x: 1, y: 1 }] }] };
  const svg = chartSvg([empty, zero, one]);
  assertEquals(openTags(svg), []);
  // The point at 0 isn't drawn, and the legend has three marks.
  assertEquals(svg.match(/<circle /g)!.length, 1 + 3);
  assert(!/NaN|Infinity/.test(svg), svg);
});

Deno.test("labels of points that lie on one another can all be read", () => {
  const bounds = { left: 58, right: 446, top: 22, bottom: 284 };
  const texts = ["full", "sketch@0.02", "oracle@0.02", "oracle@0.02/draws=64", "lsh:10x150"];
  for (const [x, y] of [[93, 40], [440, 280], [250, 150], [60, 36]] as const) {
    const places = placeLabels(texts.map((text) => ({ text, x, y })), bounds);
    const boxes = places.map(({ left, base }, i) => ({
      left,
      right: left + 5.5 * texts[i]!.length,
      top: base - 10,
      bottom: base,
    }));
    boxes.forEach((a, i) => {
      assert(a.left >= 58 && a.right <= 446 && a.top >= 22 && a.bottom <= 284, JSON.stringify(a));
      for (const b of boxes.slice(0, i)) {
        const apart = a.left >= b.right || b.left >= a.right || a.top >= b.bottom ||
          b.top >= a.bottom;
        assert(apart, JSON.stringify([a, b]));
      }
    });
  }
  assertEquals(placeLabels([{ text: "lone", x: 100, y: 100 }], bounds), [{ left: 106, base: 95 }]);
});

Deno.test("texts are escaped", () => {
  assertEquals(escapeText('<a href="x">&'), "&lt;a href=&quot;x&quot;&gt;&amp;");
});
