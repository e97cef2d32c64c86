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
// shares.) The thresholds come from histograms and are integers: neither segments nor threads change them.
// Where more than kHistogramBins / kScoreUnits octaves of scores would be read, less than the budget is.
#pragma once

#include <functional>

#include "draw_kernels.h"
#include "strategy.h"

namespace sounder {

// τ is found from at least so many keys, a part of them where there are more: it decides how heads share the
// budget, which δ, found from all keys, then meets.
constexpr int kLeastCountedKeys = 8192;

// Phase: the segment's scores → a histogram for each head.
void count_heads(const DrawKernels &kernels, const StrategyView &view, int segment);
// beta: what true logarithms were multiplied by to be scores. zero(head): log2 of what a score of 0 stands
// for.
using HeadZero = std::function<float(int head)>;
void find_head_thresholds(const StrategyView &view, int segments, float beta, const HeadZero &zero);

// Phase, only for more than one head: u and its histogram.
void combine_heads(const DrawKernels &kernels, const StrategyView &view, int segment);
void find_group_threshold(const StrategyView &view, int segments);

void draw_keys(const DrawKernels &kernels, const StrategyView &view, int segment, Choice &choice);

}  // namespace sounder
