// SPDX-License-Identifier: Apache-2.0
#include "sampled_layers.h"

#include <algorithm>
#include <cstring>
#include <instructions.cuh>

#include "errors.h"
#include "sampled/gather.h"
#include "sampled/lsh_collision.h"
#include "sampled/lsh_projections.h"
#include "sampled/sketch_kernels.h"
#include "sampled/strategy.h"
#include "sounder.h"

namespace sounder::cuda {

namespace {

constexpr int kBranches = 7;  // for eight parts of the heads

// Grids are made for contexts of this length or a step of a quarter above it, so that a graph lasts a while.
int bucket_of(int context) {
  int64_t bucket = 2 * kChunkKeys;
  while (bucket < context) bucket = (bucket + bucket / 4 + kChunkKeys - 1) / kChunkKeys * kChunkKeys;
  return static_cast<int>(bucket);
}

SampledQuery query_of(const DeviceStep::SampledRow &row, int kv_heads, const int32_t *table,
                      const int32_t *signatures) {
  SampledQuery q{};
  q.blocks = q.near_blocks = table;
  q.signatures = signatures;
  q.seed = row.params->seed;
  q.row = row.row;
  q.statistics = row.is_last ? row.sequence : -1;
  q.verify = row.is_last && row.params->verify ? 1 : 0;
  q.position = row.position;
  q.begin = row.range.begin;
  q.end = row.range.end;
  q.budget = row.range.budget;
  q.segment_keys = segment_keys_of(row.range.end, kv_heads);
  q.beta = row.params->attention == SOUNDER_ATTENTION_ORACLE ? 1.0f : row.params->beta;
  q.beta_shrink = beta_shrink(q.beta);
  q.draws = row.params->draws;
  q.collisions = row.params->collisions;
  return q;
}

SketchConstants constants_of(const ModelConfig &c) {
  SketchConstants constants{};
  constants.draw = draw_table();
  const std::vector<float> signs = rotation_signs(c.head_dim, c.index_seed);
  std::copy(signs.begin(), signs.end(), constants.signs);
  return constants;
}

void upload(void *to, const std::vector<float> &values) {
  check(cudaMemcpy(to, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice),
        "upload the constants of lsh");
}

void upload_lsh(const ModelConfig &c, const SampledLayers::Places &places) {
  upload(places.projections, lsh_plane_projections(c.lsh_bits, c.lsh_tables, c.head_dim, c.index_seed));
  for (int i = 0; i < kMostCollisions; ++i)
    upload(places.collisions + i * (kCollisionPoints + 1),
           make_collision_offsets(c.lsh_bits, c.lsh_tables, i + 1));
}

}  // namespace

SampledLayers::SampledLayers(const ModelConfig &config, int processors, const Index &index,
                             const Places &places)
    : config_(config),
      shape_{config.heads, config.kv_heads, config.head_dim, config.sketch_bits, config.signature()},
      processors_(processors),
      places_(places),
      index_(index),
      staging_bytes_(device_workspace(config).queries + device_workspace(config).signatures),
      found_bytes_(device_workspace(config).statistics),
      staging_(2 * staging_bytes_, "pin memory for a step"),
      found_(2 * found_bytes_, "pin memory for statistics"),
      branches_(kBranches) {
  static_assert(sizeof(SketchConstants) <= 6400);
  const SketchConstants constants = constants_of(config);
  check(cudaMemcpy(places_.constants, &constants, sizeof constants, cudaMemcpyHostToDevice),
        "upload the constants of sketches");
  if (config.lsh_on_device()) upload_lsh(config, places);
}

Launcher SampledLayers::launcher(cudaStream_t stream, StageMarks *marks) const {
  Launcher made;
  made.stream = stream;
  made.multiprocessors = processors_;
  branches_.give(made);
  made.marks = marks;
  return made;
}

void SampledLayers::order_by_strategy(const DeviceStep &step) {
  order_.clear();
  for (int strategy = 0; strategy < kDeviceStrategies; ++strategy) {
    const size_t before = order_.size();
    for (size_t i = 0; i < step.sampled.size(); ++i)
      if (device_strategy_of(*step.sampled[i].params) == strategy) order_.push_back(static_cast<int>(i));
    counts_[size_t(strategy)] = static_cast<int>(order_.size() - before);
  }
}

void SampledLayers::describe(cudaStream_t stream, const DeviceStep &step, const int32_t *tables, int half) {
  staged_ = staging_.data() + half * staging_bytes_;
  const int width = device_table_width(config_);
  queries_.clear();
  filled_.clear();
  verifies_ = false;
  sequences_ = static_cast<int>(step.sequences.size());
  int longest = 0;
  order_by_strategy(step);
  signed_ = step.signed_keys;
  upload_signatures(stream, step);
  for (const int i : order_) {
    const DeviceStep::SampledRow &row = step.sampled[size_t(i)];
    queries_.push_back(
        query_of(row, config_.kv_heads, tables + int64_t{row.sequence} * width, signatures_of(row.sequence)));
    verifies_ = verifies_ || queries_.back().verify != 0;
    longest = std::max(longest, row.position + 1);
  }
  longest_ = queries_.empty() ? 0 : bucket_of(longest);
  for (int s = 0; s < sequences_; ++s) {
    const DeviceStep::Sequence &own = step.sequences[size_t(s)];
    const int first = own.position / kBlockTokens, end = (own.position + own.rows) / kBlockTokens;
    if (own.rows > 0 && end > first) filled_.push_back({s, first, end});
  }
  if (queries_.empty()) return;
  const size_t bytes = queries_.size() * sizeof(SampledQuery);
  std::memcpy(staged_, queries_.data(), bytes);
  check(cudaMemcpyAsync(places_.queries, staged_, bytes, cudaMemcpyHostToDevice, stream), "upload a step");
}

// Behind the queries in what is pinned.
void SampledLayers::upload_signatures(cudaStream_t stream, const DeviceStep &step) {
  const size_t width = static_cast<size_t>(device_table_width(config_));
  auto *staged = reinterpret_cast<int32_t *>(staged_ + device_workspace(config_).queries);
  size_t most = 0;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const std::vector<int32_t> &own = step.sequences[s].signatures;
    std::copy(own.begin(), own.end(), staged + s * width);
    most = std::max(most, own.size());
  }
  if (most == 0) return;
  check(cudaMemcpy2DAsync(places_.signatures, width * 4, staged, width * 4, most * 4, step.sequences.size(),
                          cudaMemcpyHostToDevice, stream),
        "upload a step");
}

void SampledLayers::describe_near(cudaStream_t stream, const int32_t *tables) {
  SampledQuery *staged = reinterpret_cast<SampledQuery *>(staged_) + rows();
  for (int i = 0; i < rows(); ++i) {
    staged[i] = queries_[size_t(i)];
    staged[i].near_blocks = tables + int64_t{order_[size_t(i)]} * device_table_width(config_);
  }
  check(cudaMemcpyAsync(places_.queries + rows(), staged, size_t(rows()) * sizeof(SampledQuery),
                        cudaMemcpyHostToDevice, stream),
        "upload a step");
}

void SampledLayers::seal(cudaStream_t stream, int layer, const void *rows, const int32_t *row_table,
                         const int32_t *table, int first, int end) {
  SealStep step{};
  step.shape = config_.index_shape();
  step.kv_heads = config_.kv_heads;
  step.rows = static_cast<const uint16_t *>(rows);
  step.records = index_.records[size_t(layer)].data();
  step.record_stride = record_bytes(step.shape);
  step.signs = places_.constants->signs;
  step.row_blocks = row_table + first;
  step.blocks = table + first;
  step.first = first;
  step.count = end - first;
  step.previous = first > 0 ? table + first - 1 : nullptr;
  if (step.shape.sketch_bits > 0) launch_seal(launcher(stream), step);
  if (step.shape.quest_page > 0) launch_seal_bounds(launcher(stream), step);
}

void SampledLayers::sign(cudaStream_t stream, int layer, const void *slab, const int32_t *tables) {
  for (const DeviceStep::Signed &keys : signed_) {
    SignStep step{};
    step.signature = shape_.signature;
    step.kv_heads = config_.kv_heads;
    step.centred = config_.lsh_centring != SOUNDER_CENTRING_OFF;
    step.rows = static_cast<const uint16_t *>(slab);
    step.row_blocks = tables + int64_t{keys.sequence} * device_table_width(config_);
    step.places = signatures_of(keys.sequence);
    step.signatures = index_.signatures[size_t(layer)].data();
    step.projections = places_.projections;
    step.begin = keys.begin;
    step.end = keys.end;
    step.mean_end = keys.mean_end;
    launch_sign(launcher(stream), step);
  }
}

SampledStep SampledLayers::step_of(int layer, const void *slab, uint16_t *output) const {
  SampledStep step{};
  step.shape = shape_;
  step.served = {0, shape_.kv_heads};
  step.context = longest_;
  step.layer = layer;
  step.query = places_.queries;
  step.constants = places_.constants;
  step.rows = step.near_rows = static_cast<const uint16_t *>(slab);
  step.records = index_.records[size_t(layer)].data();
  step.record_stride = record_bytes(config_.index_shape());
  step.quest_page = config_.quest_page;
  step.signatures = index_.signatures[size_t(layer)].data();
  step.projections = places_.projections;
  step.collisions = places_.collisions;
  step.narrow_output = output;
  step.statistics = places_.statistics;
  return step;
}

template <typename Body>
void SampledLayers::for_waves(SampledStep step, const Body &body) const {
  for (int strategy = 0; strategy < kDeviceStrategies; ++strategy) {
    step.strategy = device_strategy(strategy);
    const int most = device_sampled_queries(config_, step.strategy.has_words);
    for (int left = counts_[size_t(strategy)]; left > 0; left -= step.queries) {
      step.queries = std::min(most, left);
      const int64_t bytes =
          place_sampled(shape_, step.queries, config_.context, processors_, places_.work, &step.memory);
      if (step.strategy.has_words) place_words(shape_, step.queries, places_.work + bytes, &step.memory);
      body(step);
      step.query += step.queries;
    }
  }
}

void SampledLayers::attend(cudaStream_t stream, int layer, const void *slab, const NewRows &rows,
                           uint16_t *output, StageMarks &marks) {
  SampledStep all = step_of(layer, slab, output);
  if (rows.near_rows != slab) {
    all.query += this->rows();
    all.near_rows = rows.near_rows;
  }
  const Launcher own = launcher(stream, marks.tells() ? &marks : nullptr);
  for_waves(all, [&](const SampledStep &step) { launch_sampled_attention(own, step, rows); });
}

void SampledLayers::attend_heads(cudaStream_t stream, int layer, const void *slab, const NewRows &rows,
                                 uint16_t *output, int heads) {
  SampledStep some = step_of(layer, slab, output);
  some.served = {0, heads};
  for_waves(some, [&](const SampledStep &step) { launch_sampled_attention(launcher(stream), step, rows); });
}

void SampledLayers::verify(cudaStream_t stream, uint16_t *output, const uint16_t *exact) {
  SampledStep step = step_of(0, nullptr, output);
  step.queries = rows();
  launch_verify(launcher(stream), step, exact);
}

void SampledLayers::clear_statistics(cudaStream_t stream) {
  const size_t bytes = size_t(sequences_) * config_.heads * kStatistics * sizeof(float);
  check(cudaMemsetAsync(places_.statistics, 0, bytes, stream), "clear statistics");
}

void SampledLayers::fetch_statistics(cudaStream_t stream, int half) {
  const size_t bytes = size_t(sequences_) * config_.heads * kStatistics * sizeof(float);
  check(cudaMemcpyAsync(found_.data() + half * found_bytes_, places_.statistics, bytes,
                        cudaMemcpyDeviceToHost, stream),
        "read statistics");
}

// A KV head reads its rows for all heads of its group.
std::vector<SampledStatistics> SampledLayers::statistics(int half) const {
  const float *next = reinterpret_cast<const float *>(found_.data() + half * found_bytes_);
  const double heads = config_.heads;
  std::vector<SampledStatistics> all(static_cast<size_t>(sequences_));
  for (SampledStatistics &own : all)
    for (int head = 0; head < config_.heads; ++head, next += kStatistics) {
      own.chosen_rows += next[0] / heads;
      own.chosen_keys += next[4] / heads;
      own.inverse_samples += next[1] / heads;
      own.squared_error += next[2] / heads;
      own.verify_error += next[3] / heads;
    }
  return all;
}

}  // namespace sounder::cuda
