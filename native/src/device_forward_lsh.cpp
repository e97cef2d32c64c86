// SPDX-License-Identifier: Apache-2.0
//
// What contexts on a device keep of their keys for lsh: hash tables in host memory where the CPU attends,
// else signatures in the device's, which steps make.
#include "device_forward.h"
#include "lsh_extension.h"

namespace sounder {

// Tables cover the same keys at all layers that have them.
int DeviceForward::covered(const LshTables *tables) const {
  if (tables == nullptr) return 0;
  for (int layer = 0; layer < config_.layers; ++layer)
    if (config_.layer_samples(layer)) return tables->covered(layer);
  return 0;
}

std::vector<int32_t> DeviceForward::places_of(const LshTables *tables) const {
  return tables == nullptr ? std::vector<int32_t>() : tables->places();
}

void DeviceForward::extend_on_device(Batch &batch) {
  signed_.clear();
  if (!config_.lsh_on_device()) return;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    BatchSequence &sequence = batch.sequences[i];
    if (sequence.cancelled || sequence.lsh == nullptr) continue;
    end_where_it_fails(sequence, [&] {
      const LshTables::Signed added = sequence.lsh->extend_on_device(sequence.lsh_until);
      if (added.end > added.begin)
        signed_.push_back({static_cast<int>(i), added.begin, added.end, added.mean_end});
    });
  }
}

void DeviceForward::extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) {
  if (!config_.lsh_on_device()) return host_->extend(tables, blocks, until);
  const LshTables::Signed added = tables.extend_on_device(until);
  if (added.end == added.begin) return;
  ahead_ = {};
  DeviceStep step;
  step.sequences.push_back({0, 0, until, blocks, tables.places()});
  step.signed_keys.push_back({0, added.begin, added.end, added.mean_end});
  device_.sign(step);
}

}  // namespace sounder
