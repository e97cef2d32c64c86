// SPDX-License-Identifier: Apache-2.0
//
// What strategies that read everything score keys and pages by. One table of kernels for each instruction
// level, named like those of Kernels. Sums are float32.
#pragma once

#include <cstdint>

namespace sounder {

struct ExactScoreTask {
  const void *rows;  // as in GatherTask
  int64_t block_stride;
  const int32_t *blocks;
  int first_key, end_key;
  const float *q;  // [heads][head_dim]
  int heads, head_dim;
  float scale;
  float *scores;  // scale · q·k of key i for head h at scores[h * score_stride + i - first_key]
  int64_t score_stride;
};

// The bounds of the pages of one block (index.h) and what they allow: scores[h * score_stride + p] =
// sum over dimensions of max(q least, q greatest) of page p.
struct PageScoreTask {
  const void *bounds;
  int pages;
  const float *q;  // [heads][head_dim]
  int heads, head_dim;
  float *scores;
  int64_t score_stride;
};

struct ExactScoreKernels {
  const char *name;
  void (*keys_bf16)(const ExactScoreTask &task);
  void (*keys_f32)(const ExactScoreTask &task);
  void (*pages_bf16)(const PageScoreTask &task);
  void (*pages_f32)(const PageScoreTask &task);
};

// The table of the level of this name; nullptr if this build has none.
const ExactScoreKernels *exact_score_kernels(const char *level);

}  // namespace sounder
