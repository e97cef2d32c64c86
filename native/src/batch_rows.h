// SPDX-License-Identifier: Apache-2.0
//
// Which rows a forward computes: they leave it when their context is cancelled, and in the last layer where
// nobody asks for logits or hidden states.
#pragma once

#include "batch.h"

namespace sounder {

// Every new token is a row, in the order of the sequences and their tokens.
void place_rows(Batch &batch);

// Marks the sequences that are to end. True when one of them still has rows.
bool mark_cancelled(Batch &batch);

// Whether a row's logits or hidden state are asked for.
bool row_is_needed(const Batch &batch, size_t row);

// Rows from `first` on that need logits, without a gap; all of them while capturing.
int logits_rows(const Batch &batch, int first);

// Rows leave the batch: keep(row) says which stay, move(from, to) moves what belongs to a row that stays,
// from the first row to the last; to ≤ from.
template <typename Keep, typename Move>
void keep_batch_rows(Batch &batch, const Keep &keep, const Move &move);

void count_rows(Batch &batch);

template <typename Keep, typename Move>
void keep_batch_rows(Batch &batch, const Keep &keep, const Move &move) {
  size_t kept = 0;
  for (size_t row = 0; row < batch.row_sequence.size(); ++row) {
    if (!keep(row)) continue;
    move(row, kept);
    batch.row_sequence[kept] = batch.row_sequence[row];
    batch.row_token[kept] = batch.row_token[row];
    ++kept;
  }
  batch.row_sequence.resize(kept);
  batch.row_token.resize(kept);
  count_rows(batch);
}

}  // namespace sounder
