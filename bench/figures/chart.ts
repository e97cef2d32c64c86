// SPDX-License-Identifier: Apache-2.0
/** Charts as SVG that reads well on light and dark pages: axes, lines, points with error bars, a legend. */
import { LABEL_SIZE, placeLabels } from "./labels.ts";

export interface Point {
  x: number;
  y: number;
  /** Ends of an error bar. */
  low?: number;
  high?: number;
  /** Text beside the point. */
  label?: string;
}

export interface Series {
  name: string;
  points: Point[];
  /** Joins the points (default true). */
  line?: boolean;
  /** Marks the points (default true). */
  marks?: boolean;
  dashed?: boolean;
  /** Series with one number share a colour; otherwise each has its own. */
  colour?: number;
  /** For clouds of many points. */
  faint?: boolean;
}

export interface Axis {
  title: string;
  log?: boolean;
  percent?: boolean;
  /** Where it must begin and end; otherwise where the points do. */
  from?: number;
  to?: number;
}

/** One coordinate system. */
export interface Panel {
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
}

const WIDTH = 460, HEIGHT = 330;
const LEFT = 58, RIGHT = 14, TOP = 34, BOTTOM = 46;
/** Okabe and Ito's colours, which people with any colour vision can tell apart. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"];
/** How a series is drawn: where there are more of them than colours, those beyond have hollow marks. */
interface Look {
  colour: string;
  hollow: boolean;
}
const STYLE = `
  .frame{font:12px system-ui,sans-serif;fill:#24292f}
  .axis{stroke:#57606a;fill:none}.grid{stroke:#d0d7de;stroke-width:.6}
  .paper{fill:#ffffff}
  @media(prefers-color-scheme:dark){
    .frame{fill:#e6edf3}.axis{stroke:#8b949e}.grid{stroke:#30363d}.paper{fill:#0d1117}
  }`;

/** Escapes a text for SVG. */
export function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function format(value: number, percent = false): string {
  const shown = percent ? 100 * value : value;
  const text = shown === 0 || Math.abs(shown) >= 1e-4 && Math.abs(shown) < 1e6
    ? String(Number(shown.toPrecision(3)))
    : shown.toExponential(0);
  return percent ? `${text} %` : text;
}

/** Where ticks stand: on a log axis multiples of powers of ten, as few as do, else about five round steps. */
export function ticksOf(low: number, high: number, log: boolean): number[] {
  if (!log) {
    const raw = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }
  const decades = Math.log10(high / low);
  const short = decades > 0.8 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const factors = decades > 4 ? [1] : decades > 2.2 ? [1, 3] : short;
  const ticks: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e) {
    for (const factor of factors) {
      const tick = Number((factor * 10 ** e).toPrecision(12));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : ticksOf(low, high, false);
}

/** Maps values of an axis to pixels. */
class Scale {
  readonly low: number;
  readonly high: number;

  constructor(readonly axis: Axis, values: number[], readonly start: number, readonly end: number) {
    const usable = values.filter((value) => Number.isFinite(value) && (!axis.log || value > 0));
    let low = axis.from ?? Math.min(...usable, axis.to ?? Infinity);
    let high = axis.to ?? Math.max(...usable, axis.from ?? -Infinity);
    if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = axis.log ? [0.1, 1] : [0, 1];
    if (low === high) [low, high] = axis.log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const margin = axis.log ? (high / low) ** 0.05 : 0.05 * (high - low);
    this.low = axis.from !== undefined ? low : axis.log ? low / margin : low - margin;
    this.high = axis.to !== undefined ? high : axis.log ? high * margin : high + margin;
  }

  at(value: number): number {
    const { axis, low, high } = this;
    const share = axis.log
      ? Math.log(Math.max(value, 1e-300) / low) / Math.log(high / low)
      : (value - low) / (high - low);
    return this.start + Math.min(1.02, Math.max(-0.02, share)) * (this.end - this.start);
  }

  ticks(): number[] {
    return ticksOf(this.low, this.high, this.axis.log ?? false);
  }
}

const px = (value: number) => value.toFixed(1);

function axes({ title, x, y }: Panel, sx: Scale, sy: Scale): string {
  const parts = [
    `<text x="${LEFT}" y="20" font-weight="600">${escapeText(title)}</text>`,
    ...sx.ticks().map((tick) => {
      const at = px(sx.at(tick));
      return `<path class="grid" d="M${at} ${TOP}V${HEIGHT - BOTTOM}"/>` +
        `<text x="${at}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${
          format(tick, x.percent)
        }</text>`;
    }),
    ...sy.ticks().map((tick) => {
      const at = sy.at(tick);
      return `<path class="grid" d="M${LEFT} ${px(at)}H${WIDTH - RIGHT}"/>` +
        `<text x="${LEFT - 6}" y="${px(at + 4)}" text-anchor="end">${
          format(tick, y.percent)
        }</text>`;
    }),
    `<path class="axis" d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${
      escapeText(x.title)
    }</text>`,
    `<text transform="translate(13 ${
      (TOP + HEIGHT - BOTTOM) / 2
    })rotate(-90)" text-anchor="middle">${escapeText(y.title)}</text>`,
  ];
  return parts.join("\n");
}

function bars(series: Series, sx: Scale, sy: Scale): string[] {
  return series.points.filter(({ low, high }) => low !== undefined && high !== undefined).map(
    ({ x, low, high }) => `M${px(sx.at(x))} ${px(sy.at(low!))}V${px(sy.at(high!))}`,
  );
}

/** Of a circle. */
function fillOf({ colour, hollow }: Look): string {
  return hollow ? `class="paper" stroke="${colour}" stroke-width="1.8"` : `fill="${colour}"`;
}

function drawn(series: Series, look: Look, sx: Scale, sy: Scale): string {
  const { points, line = true, marks = true, dashed = false, faint = false } = series;
  const parts: string[] = [];
  const path = points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${px(sx.at(x))} ${px(sy.at(y))}`);
  const style = `fill="none" stroke="${look.colour}"`;
  if (line && points.length > 1) {
    parts.push(
      `<path d="${path.join("")}" ${style} stroke-width="1.8"${
        dashed ? ' stroke-dasharray="5 4"' : ""
      }/>`,
    );
  }
  const errors = bars(series, sx, sy).join("");
  if (errors !== "") parts.push(`<path d="${errors}" ${style} stroke-width="1.2" opacity=".55"/>`);
  if (marks) {
    const [radius, opacity] = faint ? [1.2, 0.3] : [3.4, 1];
    for (const { x, y } of points) {
      parts.push(
        `<circle cx="${px(sx.at(x))}" cy="${px(sy.at(y))}" r="${radius}" ${
          fillOf(look)
        } opacity="${opacity}"/>`,
      );
    }
  }
  return parts.join("\n");
}

/** The texts beside points. */
function labels(points: readonly Point[], sx: Scale, sy: Scale): string {
  const named = points.flatMap(({ x, y, label }) =>
    label === undefined ? [] : [{ text: label, x: sx.at(x), y: sy.at(y) }]
  );
  const bounds = { left: LEFT, right: WIDTH - RIGHT, top: TOP - 12, bottom: HEIGHT - BOTTOM };
  return placeLabels(named, bounds).map(({ left, base }, i) =>
    `<text x="${px(left)}" y="${px(base)}" font-size="${LABEL_SIZE}">${
      escapeText(named[i]!.text)
    }</text>`
  ).join("\n");
}

/** What a log axis can show. */
function shownSeries({ x, y, series }: Panel): Series[] {
  return series.map((one) => ({
    ...one,
    points: one.points.filter((point) => !(x.log && point.x <= 0) && !(y.log && point.y <= 0)),
  }));
}

function panelSvg(panel: Panel, lookOf: (series: Series) => Look): string {
  const series = shownSeries(panel);
  const points = series.flatMap(({ points }) => points);
  const ys = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
  const sx = new Scale(panel.x, points.map(({ x }) => x), LEFT, WIDTH - RIGHT);
  const sy = new Scale(panel.y, ys, HEIGHT - BOTTOM, TOP);
  return [
    axes(panel, sx, sy),
    ...series.map((one) => drawn(one, lookOf(one), sx, sy)),
    labels(points, sx, sy),
  ].join("\n");
}

/** Name and look of each series, in order of appearance over all panels. */
function looksOf(panels: readonly Panel[]): Map<string, Look> {
  const looks = new Map<string, Look>();
  let next = 0;
  for (const { name, colour } of panels.flatMap(({ series }) => series)) {
    if (looks.has(name)) continue;
    const place = colour ?? next++;
    looks.set(name, {
      colour: COLOURS[place % COLOURS.length]!,
      hollow: place >= COLOURS.length,
    });
  }
  return looks;
}

function legend(looks: ReadonlyMap<string, Look>, top: number, width: number): string {
  let [x, y] = [LEFT, top];
  return [...looks].map(([name, look]) => {
    const needed = 24 + 6.6 * name.length;
    if (x + needed > width) [x, y] = [LEFT, y + 18];
    const entry = `<circle cx="${px(x)}" cy="${y - 4}" r="4" ${fillOf(look)}/>` +
      `<text x="${px(x + 9)}" y="${y}">${escapeText(name)}</text>`;
    x += needed;
    return entry;
  }).join("\n");
}

/** Draws panels in rows of `columns`, with one legend for all. */
export function chartSvg(panels: readonly Panel[], columns = 2): string {
  const looks = looksOf(panels);
  const across = Math.min(columns, panels.length);
  const rows = Math.ceil(panels.length / across);
  const width = across * WIDTH;
  const letters = [...looks.keys()].reduce((sum, name) => sum + 24 + 6.6 * name.length, 0);
  const height = rows * HEIGHT + 18 * Math.ceil(1.2 * letters / width) + 16;
  const body = panels.map((panel, i) => {
    const at = `translate(${(i % across) * WIDTH} ${Math.floor(i / across) * HEIGHT})`;
    return `<g transform="${at}">\n${panelSvg(panel, ({ name }) => looks.get(name)!)}\n</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}" role="img">\n<style>${STYLE}</style>\n` +
    `<rect class="paper" width="${width}" height="${height}"/>\n<g class="frame">\n` +
    `${body.join("\n")}\n${legend(looks, rows * HEIGHT + 18, width)}\n</g>\n</svg>\n`;
}
