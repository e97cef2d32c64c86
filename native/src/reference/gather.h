// SPDX-License-Identifier: Apache-2.0
//
// Attention over chosen rows in plain loops and double precision: the judge of the gather kernels.
#pragma once

namespace sounder::reference {

struct ChosenRows {
  int count, head_dim;
  const double *k, *v;                // [count][head_dim]
  const double *offsets;              // [count] -log2 P; nullptr: all certain
  const double *uncertain = nullptr;  // [count] in place of 1 - P, of draws with replacement
};

// The logit of a key in units of log 2: q · k · log2(e) / sqrt(head_dim).
double logit(const double *q, const double *k, int head_dim);

// state [head_dim + 5]: the sampled state of one query, as in sampled/gather.h.
void gather(const ChosenRows &rows, const double *q, const double *signs, double *state);

// Linear interpolation in a table of points + 1 values at cos = -1 .. 1; cosine is clamped to that.
double interpolate(const float *table, int points, double cosine);

struct GatherResult {
  double inverse_samples, squared_error;
};

// output = the normalised attention; zeros when the state has no keys.
GatherResult finish_gather(const double *state, const double *signs, int head_dim, double *output);

}  // namespace sounder::reference
