// SPDX-License-Identifier: Apache-2.0
//
// One Llama-style forward over the new tokens of all contexts of a step: on the CPU (transformer.h) or on a
// device (device_forward.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "batch.h"

namespace sounder {

class Forward {
 public:
  virtual ~Forward() = default;

  // Gets the logits of rows [first, first + count) of the batch, [count, V], while they last.
  using UseLogits = std::function<void(const float *logits, int first, int count)>;

  // Computes the K and V of all new tokens into their blocks, and logits where a row is sampled or scored
  // (everywhere while capturing). Sequences that are cancelled on the way are marked and left out.
  virtual void run(Batch &batch, const UseLogits &use_logits) = 0;

  // One query token over KV that is there: what sounder_attend asks for.
  struct AttendRequest {
    const float *q;         // [heads * head_dim] after RoPE
    float *output;          // [heads * head_dim]
    const int32_t *blocks;  // of the context
    int position;           // of the query token
    const SampledParams &params;
    const LshTables *lsh;
    SampledStatistics *statistics;
  };
  virtual void attend_alone(int layer, const AttendRequest &request) = 0;
  // Seeded noise as the KV of the positions [first, end) of a context, in place of computing it, and the
  // index.
  virtual void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) = 0;
  // Extends lsh tables over all layers whose KV is there up to `until`; the caller commits or rolls back.
  virtual void extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) = 0;

  // "avx512, oneDNN 2.6.3, f32 panels"
  virtual std::string description() const = 0;
};

}  // namespace sounder
