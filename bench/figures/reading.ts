// SPDX-License-Identifier: Apache-2.0
/** Reads a text with an engine and keeps what its layers made of it: queries of some positions, keys and values. */
import type { AttendRequest, AttendResult } from "../../ffi/attend.ts";
import type { CaptureName } from "../../ffi/capture.ts";
import { type ContextId, type Engine } from "../../src/engine/engine.ts";
import { Failure } from "../../src/errors.ts";

/** What the figures need of an engine. */
export interface FigureEngine extends Engine {
  capture(enabled: boolean): void;
  readCapture(name: CaptureName, layer?: number): Float32Array;
  attend(request: AttendRequest): Promise<AttendResult>;
}

export interface Shape {
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
}

/** One layer: rows of all tokens. */
export interface LayerRows {
  /** [tokens, kvHeads · headDim] after RoPE. */
  keys: Float32Array;
  values: Float32Array;
}

/** A text as an engine's layers saw it. */
export interface Reading {
  tokens: number;
  /** By layer, only those asked for. */
  rows: Map<number, LayerRows>;
  /** By layer, then by position: [heads · headDim]. */
  queries: Map<number, Map<number, Float32Array<ArrayBuffer>>>;
}

const QUIET = { sampling: null, choice: 0, alternatives: 0 };
/** Captures keep the logits of each token, so steps are short. */
const CHUNK = 128;

async function append(
  engine: Engine,
  context: ContextId,
  tokens: Int32Array,
  promptTokens: number,
): Promise<void> {
  const { sequences: [result] } = await engine.step([
    { ...QUIET, context, tokens, promptTokens },
  ]);
  if (result!.failure !== null) throw new Failure("engine", `A step failed: ${result!.failure}.`);
}

/** `count` positions spread evenly over the last `span` of a text, its last one among them. */
export function positionsOf(tokens: number, count: number, span: number): number[] {
  const step = Math.max(1, Math.floor(Math.min(span, tokens) / count));
  return Array.from({ length: count }, (_, i) => tokens - 1 - i * step)
    .filter((position) => position >= 0).reverse();
}

/** Appends a text to an empty context without keeping anything. */
export async function readOnly(
  engine: Engine,
  context: ContextId,
  tokens: Int32Array,
): Promise<void> {
  for (let at = 0; at < tokens.length; at += engine.limits.maxStepTokens) {
    const part = tokens.subarray(at, at + engine.limits.maxStepTokens);
    await append(engine, context, part, tokens.length);
  }
}

/** Appends a text to an empty context and keeps rows of these layers and queries of these positions. */
export async function read(
  engine: FigureEngine,
  context: ContextId,
  tokens: Int32Array,
  shape: Shape,
  { layers, positions }: { layers: readonly number[]; positions: readonly number[] },
): Promise<Reading> {
  const width = shape.kvHeads * shape.headDim;
  const queryWidth = shape.heads * shape.headDim;
  const rows = new Map(layers.map((layer) => [layer, {
    keys: new Float32Array(tokens.length * width),
    values: new Float32Array(tokens.length * width),
  }]));
  const queries: Reading["queries"] = new Map(layers.map((layer) => [layer, new Map()]));
  engine.capture(true);
  try {
    const chunk = Math.min(CHUNK, engine.limits.maxStepTokens);
    for (let at = 0; at < tokens.length; at += chunk) {
      const part = tokens.subarray(at, at + chunk);
      await append(engine, context, part, tokens.length);
      for (const [layer, { keys, values }] of rows) {
        keys.set(engine.readCapture("k", layer), at * width);
        values.set(engine.readCapture("v", layer), at * width);
        const here = positions.filter((position) => position >= at && position < at + part.length);
        if (here.length === 0) continue;
        const q = engine.readCapture("q", layer);
        for (const position of here) {
          const start = (position - at) * queryWidth;
          queries.get(layer)!.set(
            position,
            q.slice(start, start + queryWidth) as Float32Array<ArrayBuffer>,
          );
        }
      }
    }
  } finally {
    engine.capture(false);
  }
  return { tokens: tokens.length, rows, queries };
}
