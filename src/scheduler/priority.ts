// SPDX-License-Identifier: Apache-2.0
/** Who goes first where there is not enough for all. */
export const PRIORITIES = ["low", "normal", "high"] as const;
export type Priority = typeof PRIORITIES[number];

/**
 * Milliseconds that a job counts as having come earlier (or later) than it did. What comes first by that time is
 * admitted first and pauses last; since nobody passes who came longer ago than that, nobody starves.
 */
export const HEAD_START_MS: Record<Priority, number> = { low: -60_000, normal: 0, high: 60_000 };
