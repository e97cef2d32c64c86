// SPDX-License-Identifier: Apache-2.0
#include "host_attention.h"

#include <algorithm>
#include <cstring>

#include "sampled/output_error.h"

namespace sounder {

HostAttention::HostAttention(const ModelConfig &config, KvBlocks &blocks, ThreadTeam &team,
                             const Kernels &kernels)
    : config_(config),
      blocks_(blocks),
      team_(team),
      kernels_(kernels),
      sampled_(team, kernels, sampled_shape(config), config.max_step_sequences, config.context),
      attention_(team, kernels, config.attention_shape(), 1, 1, config.context),
      sealer_(team, kernels.name, config.index_shape(), config.kv_heads, config.index_seed),
      outputs_(static_cast<size_t>(config.max_step_sequences) * config.q_width()),
      exact_(static_cast<size_t>(config.q_width())) {}

void HostAttention::attend(int layer, const Row *rows, int count, int first_kv_head) {
  for (int first = 0; first < count; first += config_.max_step_sequences)
    attend_some(layer, rows + first, std::min(config_.max_step_sequences, count - first), first_kv_head);
}

void HostAttention::attend_some(int layer, const Row *rows, int count, int first_kv_head) {
  const size_t width = static_cast<size_t>(config_.q_width());
  jobs_.clear();
  for (int i = 0; i < count; ++i) {
    const Row &row = rows[i];
    jobs_.push_back({row.q, outputs_.data() + size_t(i) * width, row.position, row.blocks, row.params,
                     row.lsh, row.statistics, first_kv_head});
  }
  sampled_.run(layer, blocks_.slab(layer), blocks_.records(layer), jobs_.data(), count);
  for (int i = 0; i < count; ++i) {
    if (rows[i].may_verify && rows[i].params->verify) verify(layer, rows[i], jobs_[size_t(i)].output);
    hand_back(rows[i], jobs_[size_t(i)].output, first_kv_head);
  }
}

void HostAttention::verify(int layer, const Row &row, const float *output) {
  const int width = config_.q_width();
  const AttentionJob job{row.q, width, exact_.data(), width, 1, row.position, row.blocks};
  attention_.run(blocks_.slab(layer), &job, 1);
  row.statistics->verify_error += output_error(output, exact_.data(), config_.heads, config_.head_dim);
}

void HostAttention::hand_back(const Row &row, const float *output, int first_kv_head) const {
  const int64_t width = config_.q_width();
  const int64_t first = int64_t{first_kv_head} * (config_.heads / config_.kv_heads) * config_.head_dim;
  if (config_.f32)
    std::memcpy(static_cast<float *>(row.output) + first, output + first, size_t(width - first) * 4);
  else
    kernels_.f32_to_bf16(output + first, static_cast<uint16_t *>(row.output) + first, width - first);
}

void HostAttention::widen(const void *output, float *values) const {
  const int width = config_.q_width();
  if (config_.f32)
    std::memcpy(values, output, size_t(width) * 4);
  else
    kernels_.bf16_to_f32(static_cast<const uint16_t *>(output), values, width);
}

void HostAttention::seal(int layer, const std::vector<Sealer::Job> &jobs) {
  if (!jobs.empty() && blocks_.has_records(layer)) sealer_.run(blocks_, layer, jobs);
}

void HostAttention::extend(LshTables &tables, int layer, const int32_t *blocks, int until) {
  if (config_.layer_samples(layer)) tables.extend(team_, layer, blocks_.slab(layer), blocks, until);
}

void HostAttention::extend(LshTables &tables, const int32_t *blocks, int until) {
  for (int layer = 0; layer < config_.layers; ++layer) extend(tables, layer, blocks, until);
}

}  // namespace sounder
