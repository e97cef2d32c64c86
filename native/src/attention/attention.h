// SPDX-License-Identifier: Apache-2.0
//
// Exact attention of a step at one layer: every sequence's new queries over its KV blocks, prefill chunks
// and decode tokens together, cut into chunks for the whole team.
#pragma once

#include <cstdint>
#include <memory>

#include "../cpu/kernels.h"
#include "../threads.h"

namespace sounder {

constexpr int kBlockTokens = 128;

struct AttentionShape {
  int heads;
  int kv_heads;
  int head_dim;
  int sliding_window;  // 0: none; w: a token attends itself and the w - 1 before it
  bool kv_is_f32;
};

// The KV of one layer: block b, KV head h, token t has its row [K | V] of 2 * head_dim values at
// slab + (((b * kv_heads) + h) * kBlockTokens + t) * 2 * head_dim.
struct AttentionJob {
  const float *q;  // [tokens, heads * head_dim] after RoPE, not scaled; rows q_stride apart
  int q_stride;
  float *output;  // [tokens, heads * head_dim], rows output_stride apart
  int output_stride;
  int tokens;             // new tokens ≥ 1; their K and V already lie in the blocks
  int position;           // tokens of the context before them: query i attends keys 0 .. position + i
  const int32_t *blocks;  // [ceil((position + tokens) / kBlockTokens)]
};

class Attention {
 public:
  Attention(ThreadTeam &team, const Kernels &kernels, const AttentionShape &shape, int max_step_tokens,
            int max_step_sequences, int max_context);
  ~Attention();

  void run(const void *slab, const AttentionJob *jobs, int job_count);

  // Bytes of scratch that an Attention of these sizes takes: a part of the memory formula.
  static int64_t workspace_bytes(const AttentionShape &shape, int threads, int max_step_tokens,
                                 int max_step_sequences, int max_context);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sounder
