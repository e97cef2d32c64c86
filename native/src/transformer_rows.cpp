// SPDX-License-Identifier: Apache-2.0
//
// Rows that leave a forward on the CPU: those that stay close up.
#include <cstring>

#include "batch_rows.h"
#include "transformer.h"

namespace sounder {

namespace {

void move_row(float *values, int64_t stride, int64_t width, size_t from, size_t to) {
  if (from == to) return;
  std::memcpy(values + int64_t(to) * stride, values + int64_t(from) * stride, size_t(width) * sizeof(float));
}

}  // namespace

void Transformer::keep_needed(Batch &batch) {
  if (batch.capture != nullptr) return;
  keep_batch_rows(
      batch, [&](size_t row) { return row_is_needed(batch, row); },
      [&](size_t from, size_t to) {
        move_row(x_, config_.hidden, config_.hidden, from, to);
        move_row(qkv_, config_.qkv_width(), config_.q_width(), from, to);
      });
}

bool Transformer::drop_cancelled(Batch &batch) {
  if (mark_cancelled(batch)) {
    keep_batch_rows(
        batch, [&](size_t row) { return !batch.sequences[batch.row_sequence[row]].cancelled; },
        [&](size_t from, size_t to) {
          move_row(x_, config_.hidden, config_.hidden, from, to);
          move_row(cosine_, config_.rope_pairs(), config_.rope_pairs(), from, to);
          move_row(sine_, config_.rope_pairs(), config_.rope_pairs(), from, to);
        });
  }
  return !batch.row_sequence.empty();
}

}  // namespace sounder
