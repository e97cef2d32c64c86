// SPDX-License-Identifier: Apache-2.0
//
// Where a step reads and writes KV: rows are appended, blocks that become full get their records, and queries
// attend.
#include <algorithm>
#include <cstring>

#include "cuda_device.h"
#include "failure.h"

namespace sounder::cuda {

namespace {

uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

// The tiles of the three plans follow each other.
void CudaDevice::plan_tiles(const DeviceStep &step) {
  std::vector<AttendJob> jobs, exact, verified;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &own = step.sequences[s];
    jobs.push_back({own.first_row, own.rows, own.position, static_cast<int>(s)});
  }
  if (!step.sampled.empty()) exact = jobs;
  for (const DeviceStep::SampledRow &row : step.sampled) {
    --exact[size_t(row.sequence)].tokens;
    if (row.is_last && row.params->verify) verified.push_back({row.row, 1, row.position, row.sequence});
  }
  const DeviceWorkspace bytes = device_workspace(*config_);
  AttendTile *const first =
      reinterpret_cast<AttendTile *>(staging() + bytes.rows + bytes.kept + bytes.tables);
  AttendTile *tiles = first;
  const bool hopper = can_attend_hopper(config_->attention_shape(), major_);
  auto plan = [&](const std::vector<AttendJob> &of, AttendPlan &made) {
    made = plan_attention(config_->attention_shape(), of, processors_, hopper ? kHopperTile : kLargeTile);
    made.first_tile = static_cast<int>(tiles - first);
    const size_t count = made.small.size() + made.large.size();
    if ((size_t(made.first_tile) + count) * sizeof(AttendTile) > size_t(bytes.tiles))
      fail(SOUNDER_INTERNAL, "A step has too many tiles.");
    tiles = std::copy(made.small.begin(), made.small.end(), tiles);
    tiles = std::copy(made.large.begin(), made.large.end(), tiles);
  };
  plan(jobs, plan_);
  plan(exact, exact_plan_);
  plan(verified, verify_plan_);
  check(cudaMemcpyAsync(state_->tiles, first, size_t(tiles - first) * sizeof(AttendTile),
                        cudaMemcpyHostToDevice, state_->stream),
        "upload a step");
}

void CudaDevice::append(int layer) {
  if (stages(layer)) return append_parts(layer);
  append_rows(layer, 0, rows_, slab_place(layer));
}

// Sampled attention takes rotated queries from where the product left them.
void CudaDevice::append_rows(int layer, int first, int count, const RowPlace &place) {
  const ModelConfig &c = *config_;
  const LayerWeights &w = weights_->layers[size_t(layer)];
  const DeviceState &s = *state_;
  const int64_t row = first, angles = row * c.rope_pairs();
  rotate_and_append(s.stream,
                    {s.rows + row, count, s.qkv + row * c.qkv_width(), w.qkv_bias, w.q_norm, w.k_norm,
                     c.norm_epsilon, s.cosine + angles, s.sine + angles, c.heads, c.kv_heads, c.head_dim,
                     c.rope_pairs(), s.q + row * c.q_width() * c.value_bytes(), place.slab, place.tables,
                     place.table_width, c.f32, capturing_ || samples(layer) || hands_over(layer)});
}

void CudaDevice::seal_blocks(int layer) {
  if (state_->sampled == nullptr || config_->device_record_bytes(layer) == 0) return;
  for (const SampledLayers::Filled &filled : state_->sampled->filled()) {
    const bool staged = stages(layer) && state_->host->stages(filled.sequence);
    const RowPlace slab = slab_place(layer), place = staged ? state_->host->appended(filled.sequence) : slab;
    state_->sampled->seal(state_->stream, layer, place.slab, place.table(filled.sequence),
                          slab.table(filled.sequence), filled.first, filled.end);
  }
}

// From the slab, where it lies in host memory over the bus: keys that get signatures together are mostly
// older than the step.
void CudaDevice::sign_keys(int layer) {
  if (state_->sampled == nullptr || !state_->sampled->signs() || !config_->layer_samples(layer)) return;
  if (stages(layer)) state_->host->await_written();
  state_->sampled->sign(state_->stream, layer, state_->slabs[size_t(layer)], state_->tables);
}

void CudaDevice::attend_layer(int layer) {
  if (samples(layer)) return attend_sampling(layer);
  if (hands_over(layer)) return take_answers();
  attend_exactly(layer, plan_, state_->attended);
  mark(SOUNDER_STAGE_ATTENTION);
}

void CudaDevice::attend_exactly(int layer, const AttendPlan &plan, char *output) {
  if (stages(layer)) return attend_parts(layer, plan, output);
  attend_in_slab(layer, plan, output);
}

void CudaDevice::attend_in_slab(int layer, const AttendPlan &plan, char *output) {
  const DeviceState &s = *state_;
  const RowPlace place = slab_place(layer);
  if (config_->f32) return attend_values(0, rows_, place, output);
  const AttendCall call{s.q, place.slab, place.tables, place.table_width, output, s.partials};
  const int small = static_cast<int>(plan.small.size()), large = static_cast<int>(plan.large.size());
  const AttendTile *tiles = s.tiles + plan.first_tile;
  attend_queries(call, tiles, small, kSmallTile, plan.small_splits);
  attend_queries(call, tiles + small, large, plan.large_queries, plan.large_splits);
}

void CudaDevice::attend_queries(const AttendCall &call, const AttendTile *tiles, int count, int queries,
                                int splits) {
  const AttentionShape shape = config_->attention_shape();
  if (queries == kHopperTile)
    attend_hopper(state_->stream, shape, call, tiles, count, splits);
  else
    attend_tiles(state_->stream, shape, call, tiles, count, queries, splits);
}

// In float32.
void CudaDevice::attend_values(int first, int count, const RowPlace &place, char *output) {
  const DeviceState &s = *state_;
  const int64_t offset = int64_t{first} * config_->q_width() * config_->value_bytes();
  const AttendCall call{s.q + offset,      place.slab,      place.tables,
                        place.table_width, output + offset, s.partials};
  attend_rows(s.stream, config_->attention_shape(), call, s.rows + first, count);
}

// Rows that read all keys, those that choose theirs, and beside these the exact result where it is asked for.
void CudaDevice::attend_sampling(int layer) {
  const LayerWeights &w = weights_->layers[size_t(layer)];
  DeviceState &s = *state_;
  attend_exactly(layer, exact_plan_, s.attended);
  mark(SOUNDER_STAGE_ATTENTION);
  NewRows rows{};
  rows.qkv = s.qkv;
  rows.cosines = s.cosine;
  rows.sines = s.sine;
  rows.pairs = config_->rope_pairs();
  rows.bias = w.qkv_bias;
  rows.q_norm = w.q_norm;
  rows.k_norm = w.k_norm;
  rows.epsilon = config_->norm_epsilon;
  rows.is_done = !appends_late_;
  uint16_t *slab = reinterpret_cast<uint16_t *>(s.slabs[size_t(layer)]);
  const bool near = near_ && config_->layer_on_host(layer);
  rows.near_rows = near ? reinterpret_cast<uint16_t *>(s.near->rows(layer)) : slab;
  if (near) rows.rows = slab;
  uint16_t *output = reinterpret_cast<uint16_t *>(s.attended);
  if (stages(layer)) s.host->await_written();
  s.sampled->attend(s.stream, layer, slab, rows, output, marks_);
  if (!s.sampled->verifies()) return;
  attend_in_slab(layer, verify_plan_, s.spare);
  s.sampled->verify(s.stream, output, reinterpret_cast<const uint16_t *>(s.spare));
  mark(SOUNDER_STAGE_OTHER);
}

void CudaDevice::attend(int layer, const float *q, const DeviceStep &step, float *output) {
  make_current();
  forget_ahead();
  describe(step);
  if (state_->sampled != nullptr) state_->sampled->clear_statistics(state_->stream);
  const size_t width = size_t(config_->q_width());
  std::vector<uint16_t> narrow(width);
  for (size_t i = 0; i < width; ++i) narrow[i] = to_bf16(q[i]);
  const void *values = config_->f32 ? static_cast<const void *>(q) : narrow.data();
  auto upload = [&](void *to, const void *from, size_t bytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, state_->stream), "upload a query");
  };
  upload(state_->q, values, width * size_t(config_->value_bytes()));
  upload(state_->qkv, q, width * sizeof(float));
  attend_layer(layer);
  wait();
  const std::vector<float> made = read_rows(SOUNDER_CAPTURE_ATTENTION);
  std::copy(made.begin(), made.end(), output);
}

}  // namespace sounder::cuda
