// SPDX-License-Identifier: Apache-2.0
/** Where the texts beside points go: near them, and not over one another. */

/** A text and the pixel of its point. */
export interface Label {
  text: string;
  x: number;
  y: number;
}

/** Left end and baseline of a text. */
export interface Place {
  left: number;
  base: number;
}

/** Pixels that texts may take. */
export interface Bounds {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Of a text at this size; letters are a little over half as wide as they are high. */
export const LABEL_SIZE = 10.5;
const LINE = 12, LETTER = 0.56 * LABEL_SIZE, GAP = 6, RAISED = 5, MARK = 4;

function overlap(a: Place, aWidth: number, b: Place, bWidth: number): boolean {
  return Math.abs(a.base - b.base) < LINE && a.left < b.left + bWidth && b.left < a.left + aWidth;
}

/** Whether a text would hide the mark of a point. */
function hides({ left, base }: Place, width: number, { x, y }: Label): boolean {
  const [across, down] = [left - x, base - y];
  return across < MARK && across + width > -MARK && down > -MARK && down < LINE + MARK;
}

/** Places to try: right of the point, left of it, then line by line further down and up. */
function* candidates({ x, y }: Label, width: number): Generator<Place> {
  for (let lines = 0; lines < 8; ++lines) {
    for (const base of [y - RAISED + lines * LINE, y - RAISED - lines * LINE]) {
      yield { left: x + GAP, base };
      yield { left: x - GAP - width, base };
    }
  }
}

/** A place for each label, in their order; where all are taken, the first. */
export function placeLabels(labels: readonly Label[], bounds: Bounds): Place[] {
  const taken: { place: Place; width: number }[] = [];
  for (const label of labels) {
    const width = label.text.length * LETTER;
    const inside = [...candidates(label, width)].filter(({ left, base }) =>
      left >= bounds.left && left + width <= bounds.right && base - LINE >= bounds.top &&
      base <= bounds.bottom
    );
    const free = inside.find((place) =>
      !taken.some((other) => overlap(place, width, other.place, other.width)) &&
      !labels.some((other) => hides(place, width, other))
    );
    const place = free ?? inside[0] ?? { left: label.x + GAP, base: label.y - RAISED };
    taken.push({ place, width });
  }
  return taken.map(({ place }) => place);
}
