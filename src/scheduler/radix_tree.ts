// SPDX-License-Identifier: Apache-2.0
/**
 * A radix tree over tokens: an edge is a run of tokens, a value lies where its tokens end. Runs are cut at
 * tokens and not at KV blocks: an engine that forks within a block copies that one.
 */

interface Node<T> {
  parent: Node<T> | null;
  /** Tokens of the edge that leads here; none at the root only. */
  run: Int32Array;
  /** By the first token of their runs. */
  children: Map<number, Node<T>>;
  values: Set<T>;
}

/** A value and how many first tokens it has in common with those that were looked for. */
export interface Match<T> {
  value: T;
  common: number;
}

function nodeOf<T>(parent: Node<T> | null, run: Int32Array): Node<T> {
  return { parent, run, children: new Map(), values: new Set() };
}

/** Tokens of the run that are equal to those from `start` on. */
function commonTokens(run: Int32Array, tokens: Int32Array, start: number): number {
  const most = Math.min(run.length, tokens.length - start);
  let common = 0;
  while (common < most && run[common] === tokens[start + common]) common++;
  return common;
}

export class RadixTree<T> {
  readonly #root: Node<T> = nodeOf(null, new Int32Array(0));
  readonly #places = new Map<T, Node<T>>();

  get size(): number {
    return this.#places.size;
  }

  /** Adds a value that is not in the tree. The tokens must not change later. */
  insert(tokens: Int32Array, value: T): void {
    let node = this.#root;
    let depth = 0;
    while (depth < tokens.length) {
      const child = node.children.get(tokens[depth]!);
      if (child === undefined) {
        const leaf = nodeOf(node, tokens.subarray(depth));
        node.children.set(tokens[depth]!, leaf);
        node = leaf;
        break;
      }
      const common = commonTokens(child.run, tokens, depth);
      node = common === child.run.length ? child : split(child, common);
      depth += common;
    }
    node.values.add(value);
    this.#places.set(value, node);
  }

  /** Takes a value out. Does nothing when it is not there. */
  remove(value: T): void {
    let node = this.#places.get(value);
    if (node === undefined) return;
    this.#places.delete(value);
    node.values.delete(value);
    while (node.parent !== null && node.values.size === 0 && node.children.size === 0) {
      node.parent.children.delete(node.run[0]!);
      node = node.parent;
    }
    if (node.parent !== null && node.values.size === 0 && node.children.size === 1) join(node);
  }

  /** Every value that begins as these tokens do, with at least one token in common; in no order. */
  matches(tokens: Int32Array): Match<T>[] {
    const found: Match<T>[] = [];
    let node = this.#root;
    let depth = 0;
    for (;;) {
      const next = depth < tokens.length ? node.children.get(tokens[depth]!) : undefined;
      if (depth > 0) collect(node, next, depth, found);
      if (next === undefined) return found;
      const common = commonTokens(next.run, tokens, depth);
      depth += common;
      if (common < next.run.length) {
        collect(next, undefined, depth, found);
        return found;
      }
      node = next;
    }
  }
}

/** Cuts the edge to a node after so many tokens; returns the node in between. */
function split<T>(node: Node<T>, tokens: number): Node<T> {
  const middle = nodeOf(node.parent, node.run.subarray(0, tokens));
  node.parent!.children.set(middle.run[0]!, middle);
  node.run = node.run.subarray(tokens);
  node.parent = middle;
  middle.children.set(node.run[0]!, node);
  return middle;
}

/** Makes one edge of those to a node and to its only child. */
function join<T>(node: Node<T>): void {
  const [child] = node.children.values();
  const run = new Int32Array(node.run.length + child!.run.length);
  run.set(node.run);
  run.set(child!.run, node.run.length);
  child!.run = run;
  child!.parent = node.parent;
  node.parent!.children.set(run[0]!, child!);
}

/** Everything at a node and below it but for one child, in common to a depth. */
function collect<T>(
  node: Node<T>,
  except: Node<T> | undefined,
  common: number,
  found: Match<T>[],
): void {
  const open = [node];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const value of next.values) found.push({ value, common });
    for (const child of next.children.values()) if (child !== except) open.push(child);
  }
}
