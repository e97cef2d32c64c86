// SPDX-License-Identifier: Apache-2.0
/** Bounds of the histograms' buckets: seconds, shares, counts. */

/** vLLM's, and smaller ones before them: small models are faster. */
export const FIRST_TOKEN = [
  ...[.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80],
  ...[160, 640, 2560],
];
export const BETWEEN_TOKENS = [
  ...[.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5],
  ...[10, 20, 40, 80],
];
export const REQUEST = [
  ...[.05, .1, .2, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480],
  ...[960, 1920, 7680],
];
export const STEP = [.0005, .001, .0025, .005, .01, .025, .05, .1, .15, .2, .3, .5, 1, 2.5, 5];
export const ERROR = [.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1];
export const TOKENS = Array.from({ length: 7 }, (_, i) => [1, 2, 5].map((m) => m * 10 ** i)).flat();
export const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];
export const SAMPLES = Array.from({ length: 16 }, (_, i) => 2 ** i);
