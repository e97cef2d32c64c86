// SPDX-License-Identifier: Apache-2.0
/** A step's time and bytes by stage, beside the roofline. */
import type { StageMs } from "../../src/engine/engine.ts";
import { table } from "../eval/tables.ts";
import {
  isDivided,
  msAt,
  type Rates,
  type StageTraffic,
  totalOf,
  type Traffic,
} from "./arithmetic.ts";
import type { Point } from "./run.ts";

/** Stages in the order of a table. */
const STAGES: readonly [keyof Omit<StageMs, "total">, string][] = [
  ["matmul", "products"],
  ["choosing", "choosing rows, with sink and tail"],
  ["attention", "attention"],
  ["output", "output projection"],
  ["sampling", "choosing the token"],
  ["other", "norms, rotations, appending"],
];
const NOTHING: Traffic = { vram: 0, wire: 0, host: 0 };

const ms = (value: number) => value.toFixed(value >= 100 ? 0 : 2);
const megabytes = (bytes: number) =>
  bytes === 0 ? "–" : Math.round(bytes / 1e6).toLocaleString("en-US");

/** rates: null where the traffic is no bound. */
function cells(name: string, time: number, traffic: Traffic, rates: Rates | null): string[] {
  const roof = rates === null ? 0 : msAt(traffic, rates);
  return [
    name,
    ms(time),
    megabytes(traffic.vram),
    megabytes(traffic.wire),
    megabytes(traffic.host),
    roof === 0 ? "–" : ms(roof),
    roof === 0 ? "–" : `${(100 * roof / time).toFixed(0)} %`,
  ];
}

function rowsOf(name: string, point: Point, stages: StageMs, rates: Rates): string[][] {
  const { stageTraffic, batch, context } = point;
  const boundOf = (stage: "all" | keyof StageMs) =>
    isDivided(point) && (stage === "all" || stage === "attention") ? null : rates;
  const rows = STAGES.filter(([stage]) => stages[stage] > 0).map(([stage, called]) => {
    const traffic = stageTraffic[stage as keyof StageTraffic] ?? NOTHING;
    return cells(called, stages[stage], traffic, boundOf(stage));
  });
  const sum = STAGES.reduce((all, [stage]) => all + stages[stage], 0);
  const title = `**${name}**, batch ${batch} at ${context.toLocaleString("en-US")}, ` +
    `${ms(point.ms.median)} ms a step`;
  return [
    [title, ...cells("all", sum, totalOf(stageTraffic), boundOf("all"))],
    ...rows.map((row) => ["", ...row]),
  ];
}

/** Of points whose stages were told; null where there are none. */
export function stageTable(
  points: readonly Point[],
  rates: Rates,
  nameOf: (point: Point) => string,
): string | null {
  const told = points.filter(({ stages }) => stages !== null);
  if (told.length === 0) return null;
  return table(
    [
      "step",
      "stage",
      "ms",
      "GPU's memory, MB",
      "from the host, MB",
      "by the CPU, MB",
      "at the roofs, ms",
      "of the roofs",
    ],
    told.flatMap((point) => rowsOf(nameOf(point), point, point.stages!, rates)),
  );
}
