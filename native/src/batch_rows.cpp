// SPDX-License-Identifier: Apache-2.0
#include "batch_rows.h"

namespace sounder {

// A sequence's rows lie together, in the order of its tokens.
void count_rows(Batch &batch) {
  for (BatchSequence &sequence : batch.sequences) sequence.rows = 0;
  for (size_t row = 0; row < batch.row_sequence.size(); ++row) {
    BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
    if (sequence.rows++ == 0) sequence.first_row = static_cast<int>(row);
  }
}

void place_rows(Batch &batch) {
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

bool row_is_needed(const Batch &batch, size_t row) {
  const BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
  return sequence.hidden != nullptr || sequence.wants_logits(batch.row_token[row]);
}

int logits_rows(const Batch &batch, int first) {
  int row = first, rows = static_cast<int>(batch.row_token.size());
  if (batch.capture != nullptr) return rows - first;
  while (row < rows && batch.sequences[batch.row_sequence[row]].wants_logits(batch.row_token[row])) ++row;
  return row - first;
}

bool mark_cancelled(Batch &batch) {
  const bool stop = batch.stop->load();
  bool any = false;
  for (BatchSequence &sequence : batch.sequences) {
    if (stop || sequence.cancel->load()) sequence.cancelled = true;
    any = any || (sequence.cancelled && sequence.rows > 0);
  }
  return any;
}

}  // namespace sounder
