// SPDX-License-Identifier: Apache-2.0
//
// One Poisson draw for all heads of a group, by integer scores that lie in the scratch (draw_scratch.h):
//
//   τ_h: what head h attends in all, sink and tail included, so that score - τ is a share of its attention,
//   u_i = max over heads of score_{h,i} - τ_h, with one head the score itself,
//   δ:   what makes the draw by u expect as many rows as the budget, so that the budget counts the rows that
//        the group reads, each once.
//
// So rows are read by how much of some head's attention they are: a head whose attention is nearly all in
// sink and tail gets few. (On SmolLM2's attention the error of a group was an eighth less than with equal
// shares.) The thresholds are integers: neither threads nor, but for rounding, segments change them.
// Where more than kHistogramBins / kScoreUnits octaves of scores would be read, less than the budget is.
#pragma once

#include <functional>

#include "draw_kernels.h"
#include "strategy.h"

namespace sounder {

// Phase: the segment's scores → what they weigh, for each head; for a single head their histogram.
// beta: what true logarithms were multiplied by to be scores.
void look_at_heads(const DrawKernels &kernels, const StrategyView &view, int segment, float beta);
// zero(head): log2 of what a score of 0 stands for.
using HeadZero = std::function<float(int head)>;
void find_head_thresholds(const StrategyView &view, int segments, float beta, const HeadZero &zero);

// Phase, only for more than one head: u and its histogram.
void combine_heads(const DrawKernels &kernels, const StrategyView &view, int segment);
void find_group_threshold(const StrategyView &view, int segments);

void draw_keys(const DrawKernels &kernels, const StrategyView &view, int segment, Choice &choice);

}  // namespace sounder
