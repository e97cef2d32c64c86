// SPDX-License-Identifier: Apache-2.0
//
// The attention of a layer: which rows read every key and which sample, the index that sampling needs, and
// the exact result beside the sampled one where a request asks to verify.
#include "lsh_extension.h"
#include "sampled/output_error.h"
#include "transformer.h"

namespace sounder {

void Transformer::seal_blocks(const Batch &batch, int index) {
  if (!blocks_.has_records(index)) return;
  seal_jobs_.clear();
  for (const BatchSequence &sequence : batch.sequences) {
    if (sequence.cancelled) continue;
    const int first = sequence.position / kBlockTokens;
    const int end = (sequence.position + sequence.count) / kBlockTokens;
    if (end > first) seal_jobs_.push_back({sequence.blocks, first, end});
  }
  if (!seal_jobs_.empty()) sealer_->run(blocks_, index, seal_jobs_);
}

// Tables that cannot be had end their sequence, not the others'.
void Transformer::extend_lsh(Batch &batch, int index) {
  if (!config_.layer_samples(index)) return;
  for (BatchSequence &sequence : batch.sequences) {
    if (sequence.cancelled || sequence.lsh == nullptr) continue;
    end_where_it_fails(sequence, [&] {
      sequence.lsh->extend(team_, index, blocks_.slab(index), sequence.blocks, sequence.lsh_until);
    });
  }
}

// The first rows of a sequence that attend exactly.
int Transformer::exact_rows(const BatchSequence &sequence, int index) const {
  if (!config_.layer_samples(index)) return sequence.rows;
  const int position = sequence.position + sequence.count - sequence.rows;
  const int covered = sequence.lsh == nullptr ? 0 : sequence.lsh->covered(index);
  return sounder::exact_rows(shape_, sequence.params, position, sequence.rows, covered);
}

void Transformer::plan_sampled_rows(BatchSequence &sequence, int exact) {
  const int64_t q_stride = config_.qkv_width(), out_stride = config_.q_width();
  const int position = sequence.position + sequence.count - sequence.rows;
  for (int row = exact; row < sequence.rows; ++row) {
    const int64_t place = sequence.first_row + row;
    SampledStatistics *statistics = row == sequence.rows - 1 ? &sequence.statistics : &other_rows_;
    sampled_jobs_.push_back({qkv_ + place * q_stride, attended_ + place * out_stride, position + row,
                             sequence.blocks, &sequence.params, sequence.lsh, statistics});
  }
  if (exact < sequence.rows) sequence.sampled_from = std::min(sequence.sampled_from, position + exact);
}

void Transformer::attend(Batch &batch, int index) {
  jobs_.clear();
  sampled_jobs_.clear();
  const int64_t q_stride = config_.qkv_width(), out_stride = config_.q_width();
  for (BatchSequence &sequence : batch.sequences) {
    if (sequence.rows == 0) continue;
    const int exact = exact_rows(sequence, index);
    if (exact > 0) {
      jobs_.push_back({qkv_ + sequence.first_row * q_stride, config_.qkv_width(),
                       attended_ + sequence.first_row * out_stride, config_.q_width(), exact,
                       sequence.position + sequence.count - sequence.rows, sequence.blocks});
    }
    plan_sampled_rows(sequence, exact);
  }
  if (!jobs_.empty()) attention_.run(blocks_.slab(index), jobs_.data(), static_cast<int>(jobs_.size()));
  if (!sampled_jobs_.empty()) {
    sampled_->run(index, blocks_.slab(index), blocks_.records(index), sampled_jobs_.data(),
                  static_cast<int>(sampled_jobs_.size()));
    verify(batch, index);
  }
  capture(batch, SOUNDER_CAPTURE_ATTENTION, index, attended_, out_stride);
}

// The last row of each sequence that asks for it, exactly.
void Transformer::verify(Batch &batch, int index) {
  jobs_.clear();
  verified_.clear();
  for (BatchSequence &sequence : batch.sequences) {
    const bool sampled = sequence.statistics.layers > sequence.layers_verified;
    if (sequence.rows == 0 || !sequence.params.verify || !sampled) continue;
    const int64_t row = sequence.first_row + sequence.rows - 1;
    float *output = exact_.data() + verified_.size() * size_t(config_.q_width());
    jobs_.push_back({qkv_ + row * config_.qkv_width(), config_.qkv_width(), output, config_.q_width(), 1,
                     sequence.position + sequence.count - 1, sequence.blocks});
    verified_.push_back(&sequence);
  }
  if (jobs_.empty()) return;
  attention_.run(blocks_.slab(index), jobs_.data(), static_cast<int>(jobs_.size()));
  for (size_t i = 0; i < verified_.size(); ++i) {
    BatchSequence &sequence = *verified_[i];
    const int64_t row = sequence.first_row + sequence.rows - 1;
    sequence.statistics.verify_error +=
        output_error(attended_ + row * config_.q_width(), jobs_[i].output, config_.heads, config_.head_dim);
    sequence.layers_verified = sequence.statistics.layers;
  }
}

void Transformer::attend_alone(int index, const AttendRequest &request) {
  const int32_t *blocks = request.blocks;
  SampledStatistics statistics;
  SampledJob job{request.q,       request.output, request.position, blocks,
                 &request.params, request.lsh,    &statistics};
  SampledRange range;
  const int covered = request.lsh == nullptr ? 0 : request.lsh->covered(index);
  AttentionJob exact{request.q, config_.q_width(), request.output, config_.q_width(),
                     1,         request.position,  blocks};
  const bool samples = request.params.attention != SOUNDER_ATTENTION_FULL && config_.layer_samples(index) &&
                       sampled_range(shape_, request.params, request.position, covered, &range);
  if (samples) {
    sampled_->run(index, blocks_.slab(index), blocks_.records(index), &job, 1);
    if (request.params.verify) {
      exact.output = exact_.data();
      attention_.run(blocks_.slab(index), &exact, 1);
      statistics.verify_error = output_error(request.output, exact.output, config_.heads, config_.head_dim);
    }
  } else {
    attention_.run(blocks_.slab(index), &exact, 1);
  }
  *request.statistics = statistics;
}

void Transformer::extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) {
  for (int layer = 0; layer < config_.layers; ++layer)
    if (config_.layer_samples(layer)) tables.extend(team_, layer, blocks_.slab(layer), blocks, until);
}

}  // namespace sounder
