// SPDX-License-Identifier: Apache-2.0
#include "device_workspace.h"

#include <algorithm>

#include "plan.h"

namespace sounder {

DeviceWorkspace device_workspace(const ModelConfig &c) {
  const int64_t rows = c.max_step_tokens, sequences = c.max_step_sequences, value = c.value_bytes();
  const int64_t hidden = c.hidden, q = c.q_width(), group = c.heads / c.kv_heads;
  DeviceWorkspace bytes{};
  bytes.x = 4 * rows * hidden;
  bytes.normed = value * rows * hidden;
  bytes.qkv = 4 * rows * c.qkv_width();
  bytes.q = bytes.attended = value * rows * q;
  bytes.gate_up = 2 * value * rows * c.intermediate;
  bytes.activated = value * rows * c.intermediate;
  bytes.spare = rows * std::max(4 * hidden, value * q);
  bytes.logits = int64_t{4} * std::min(c.max_step_tokens, kLogitsRows) * c.vocabulary;
  bytes.angles = 8 * rows * c.rope_pairs();
  bytes.partials = int64_t{4} * kDevicePartials * (c.head_dim + 2);
  bytes.products = kDeviceProductBytes;
  bytes.rows = 16 * rows;
  bytes.kept = 4 * rows;
  bytes.tables = 4 * sequences * device_table_width(c);
  bytes.tiles = 32 * (sequences * (group / 16 + 5) + rows * group / 64 + 1);
  return bytes;
}

}  // namespace sounder
