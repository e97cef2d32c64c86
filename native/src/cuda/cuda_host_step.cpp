// SPDX-License-Identifier: Apache-2.0
//
// What a step does otherwise at layers whose KV lies in host memory, when it stages contexts (host_layers.h):
// part by part of its rows.
#include <algorithm>

#include "cuda_device.h"

namespace sounder::cuda {

bool CudaDevice::stages(int layer) const {
  return state_->host != nullptr && state_->host->stages() && config_->layer_on_host(layer);
}

RowPlace CudaDevice::slab_place(int layer) const {
  return {state_->slabs[size_t(layer)], state_->tables, device_table_width(*config_)};
}

void CudaDevice::append_parts(int layer) {
  HostLayers &host = *state_->host;
  for (const HostLayers::Part &part : host.parts())
    append_rows(layer, part.first_row, part.rows,
                part.staged ? host.begin_append(layer, part.first_sequence) : slab_place(layer));
}

void CudaDevice::attend_parts(int layer, const AttendPlan &plan, char *output) {
  HostLayers &host = *state_->host;
  for (const HostLayers::Part &part : host.parts()) {
    const int sequence = part.first_sequence;
    attend_part(part, part.staged ? host.begin_attention(layer, sequence) : slab_place(layer), plan, output);
    if (part.staged) host.end_attention(layer, sequence);
  }
}

// The tiles of a part follow each other among the small ones, and among the large ones.
void CudaDevice::attend_part(const HostLayers::Part &part, const RowPlace &place, const AttendPlan &plan,
                             char *output) {
  if (config_->f32) return attend_values(part.first_row, part.rows, place, output);
  const DeviceState &s = *state_;
  const AttentionShape shape = config_->attention_shape();
  const AttendCall call{s.q, place.slab, place.tables, place.table_width, output, s.partials};
  auto attend_own = [&](const std::vector<AttendTile> &tiles, const AttendTile *first, int queries) {
    auto is_own = [&](const AttendTile &tile) {
      return tile.sequence >= part.first_sequence && tile.sequence < part.end_sequence;
    };
    const auto begin = std::find_if(tiles.begin(), tiles.end(), is_own);
    const auto end = std::find_if_not(begin, tiles.end(), is_own);
    if (begin == end) return;
    const int splits = attention_splits(shape, size_t(end - begin), queries, processors_);
    attend_queries(call, first + (begin - tiles.begin()), static_cast<int>(end - begin), queries, splits);
  };
  const AttendTile *small = s.tiles + plan.first_tile;
  attend_own(plan.small, small, kSmallTile);
  attend_own(plan.large, small + plan.small.size(), plan.large_queries);
}

void CudaDevice::fill_host_layer(int layer, const int32_t *blocks, int first, int end, uint32_t seed) {
  const RowPlace place = state_->host->begin_fill(layer, blocks, first);
  fill_rows(layer, place, first, end, seed);
  state_->host->end_fill(layer, blocks, first, end);
}

// Rows that are appended late go to both places.
void CudaDevice::describe_near(const DeviceStep &step) {
  NearCache *near = state_->near.get();
  if (near == nullptr) return;
  near_ = appends_late_ && near->serves(step) && 2 * rows_ <= config_->max_step_tokens;
  if (!near_) return near->forget_written(step);
  near->prepare(state_->stream, step);
  state_->sampled->describe_near(state_->stream, near->tables());
}

}  // namespace sounder::cuda
