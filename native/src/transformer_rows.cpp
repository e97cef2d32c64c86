// SPDX-License-Identifier: Apache-2.0
//
// Which rows a forward computes: they leave it when their context is cancelled, and in the last layer where
// nobody asks for logits.
#include <algorithm>
#include <cstring>

#include "transformer.h"

namespace sounder {

namespace {

void move_row(float *values, int64_t stride, int64_t width, int64_t from, int64_t to) {
  if (from != to) std::memcpy(values + to * stride, values + from * stride, size_t(width) * sizeof(float));
}

// A sequence's rows lie together, in the order of its tokens.
void count_rows(Batch &batch) {
  for (BatchSequence &sequence : batch.sequences) sequence.rows = 0;
  for (size_t row = 0; row < batch.row_sequence.size(); ++row) {
    BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
    if (sequence.rows++ == 0) sequence.first_row = static_cast<int>(row);
  }
}

}  // namespace

void Transformer::place_rows(Batch &batch) {
  batch.row_sequence.clear();
  batch.row_token.clear();
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    for (int i = 0; i < batch.sequences[s].count; ++i) {
      batch.row_sequence.push_back(static_cast<int32_t>(s));
      batch.row_token.push_back(batch.sequences[s].first_token + i);
    }
  }
  count_rows(batch);
}

template <typename Keep>
void Transformer::keep_rows(Batch &batch, Beside beside, const Keep &keep) {
  size_t kept = 0;
  for (size_t row = 0; row < batch.row_sequence.size(); ++row) {
    if (!keep(row)) continue;
    move_row(x_, config_.hidden, config_.hidden, row, kept);
    if (beside == Beside::kTable) {
      move_row(cosine_, config_.rope_pairs(), config_.rope_pairs(), row, kept);
      move_row(sine_, config_.rope_pairs(), config_.rope_pairs(), row, kept);
    } else {
      move_row(qkv_, config_.qkv_width(), config_.q_width(), row, kept);
    }
    batch.row_sequence[kept] = batch.row_sequence[row];
    batch.row_token[kept] = batch.row_token[row];
    ++kept;
  }
  batch.row_sequence.resize(kept);
  batch.row_token.resize(kept);
  count_rows(batch);
}

void Transformer::keep_needed(Batch &batch) {
  if (batch.capture != nullptr) return;
  keep_rows(batch, Beside::kQ, [&](size_t row) {
    const BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
    return sequence.hidden != nullptr || sequence.wants_logits(batch.row_token[row]);
  });
}

void Transformer::mark_cancelled(Batch &batch) {
  bool stop = batch.stop->load();
  for (BatchSequence &sequence : batch.sequences)
    if (stop || sequence.cancel->load()) sequence.cancelled = true;
}

bool Transformer::drop_cancelled(Batch &batch) {
  mark_cancelled(batch);
  bool any = std::any_of(batch.sequences.begin(), batch.sequences.end(),
                         [](const BatchSequence &s) { return s.cancelled && s.rows > 0; });
  if (any) {
    keep_rows(batch, Beside::kTable,
              [&](size_t row) { return !batch.sequences[batch.row_sequence[row]].cancelled; });
  }
  return !batch.row_sequence.empty();
}

}  // namespace sounder
