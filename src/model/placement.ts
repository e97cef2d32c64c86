// SPDX-License-Identifier: Apache-2.0
/** Which layers' KV a GPU finds in host memory: as few as the number of blocks takes. */

/** Host memory that KV may take beside a GPU's. */
export interface HostMemory {
  bytes: number;
  /** It is to be used. Otherwise only where the blocks that are needed don't fit without. */
  asked: boolean;
}

/** How many layers go there, and the most blocks that then fit. */
export interface Placement {
  hostLayers: number;
  blocks: number;
}

/**
 * @param most the most blocks that fit with so many layers in host memory
 * @param needed blocks that are needed at least
 * @param useful blocks beyond which more have no use
 * @param least layers that go there in any case
 */
export function placeLayers(
  layers: number,
  host: HostMemory | null,
  most: (hostLayers: number) => number,
  { needed, useful, least = 0 }: { needed: number; useful: number; least?: number },
): Placement {
  let best = { hostLayers: least, blocks: most(least) };
  if (host === null) return best;
  const enough = host.asked ? useful : needed;
  for (let hostLayers = least + 1; hostLayers <= layers && best.blocks < enough; hostLayers++) {
    const blocks = most(hostLayers);
    if (blocks > best.blocks) best = { hostLayers, blocks };
  }
  return best;
}
