// SPDX-License-Identifier: Apache-2.0
//
// lsh on a GPU beside the CPU's: signatures beside tables, and what both find.
#pragma once

#include "attention/attention.h"
#include "cuda_checks.h"
#include "lsh_world.h"

namespace cuda_checks {

// A level whose products and sums are fused, as the GPU's are: codes are the same then, to the bit.
inline const char *fused_level() {
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i)
    if (std::string(levels[i]->name) != "scalar") return levels[i]->name;
  return nullptr;
}

// The CPU's tables of a context, of the pieces that Device::sign has them in.
inline LshTables tables_of(const World &world, const Device &device, int context, const char *level) {
  const LshSignature &own = world.shape.sketch.signature;
  LshShape shape{kLayer + 1, world.shape.sketch.kv_heads, own.head_dim, own.bits,
                 own.tables, world.shape.lsh_centred,     false,        std::vector<bool>(kLayer + 1)};
  shape.layer_has_tables[kLayer] = true;
  LshTables tables(make_lsh_index(shape, level, World::kIndexSeed, int64_t{1} << 40));
  ThreadTeam team(1);
  const std::vector<uint16_t> rows = device.rows->values();
  const int end = device.host_queries[size_t(context)].end;
  for (const int until : {end / 2 / kIndexTokens * kIndexTokens, end}) {
    tables.extend(team, kLayer, rows.data(), world.blocks.data() + world.first_block[size_t(context)], until);
    tables.commit();
  }
  return tables;
}

// Every code, inverse norm and mean of a KV head.
inline void check_signatures(const World &world, const Device &device, const LshTables &tables, int context,
                             int kv_head) {
  const LshSignature &own = world.shape.sketch.signature;
  const std::vector<char> all = device.signatures->values();
  const auto place_of = [&](int key) {
    const int64_t block = world.blocks[size_t(world.first_block[size_t(context)] + key / kIndexTokens)];
    return all.data() + (block * world.shape.sketch.kv_heads + kv_head) * own.bytes();
  };
  const auto *mean = reinterpret_cast<const float *>(place_of(0) + own.mean_place());
  int wrong = 0, norms_apart = 0;
  for (int s = 0; s < tables.segment_count(kLayer); ++s) {
    const LshSegment &segment = tables.segment(kLayer, s);
    const std::vector<uint32_t> codes = lsh_world::codes_in(segment, 0, kv_head);
    const LshHead head = segment.head(0, kv_head);
    for (int i = 0; i < own.head_dim; ++i) wrong += mean[i] != head.mean[i];
    for (int key = 0; key < segment.keys; ++key) {
      const char *place = place_of(segment.begin + key);
      const int at = (segment.begin + key) % kIndexTokens;
      const auto *planes = reinterpret_cast<const uint32_t *>(place);
      for (int t = 0; t < 32 * own.words(); ++t) {
        uint32_t code = 0;
        for (int b = 0; b < own.bits; ++b)
          code |= (planes[(t / 32 * own.bits + b) * kIndexTokens + at] >> t % 32 & 1u) << b;
        wrong += code != (t < own.tables ? codes[size_t(t) * segment.keys + key] : 0);
      }
      // Sums of squares have no order that levels share.
      const auto norm = reinterpret_cast<const uint16_t *>(place + own.norms_place())[at];
      norms_apart += std::abs(norm - head.inverse_norms[key]) > 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(norms_apart == 0);
}

// -log2 P of what a head found, by its true scores.
inline void weigh(const View &own, const CollisionWeight &collision, int h, Chosen &chosen) {
  const int d = own.view.head_dim;
  const std::vector<double> k = widened(own.view, chosen.keys, false);
  for (size_t i = 0; i < chosen.keys.size(); ++i) {
    double score = 0;
    for (int j = 0; j < d; ++j) score += k[i * d + j] * own.q[size_t(h) * d + j];
    score *= std::log2(std::exp(1.0)) / std::sqrt(double(d));
    const double cosine = (score - collision.mean) * chosen.offsets[i];
    const double place = std::clamp((cosine + 1) * kCollisionPoints / 2, 0.0, double{kCollisionPoints});
    const int point = std::min(static_cast<int>(place), kCollisionPoints - 1);
    const double low = collision.offsets[point], high = collision.offsets[point + 1];
    chosen.offsets[i] = static_cast<float>(low + (place - point) * (high - low));
  }
}

// Returns how many keys all heads found.
inline size_t check_lsh(const WorldShape &shape, int collisions, uint32_t seed) {
  const char *level = fused_level();
  if (level == nullptr) return 1;
  const int before = check::failures();
  SampledParams params = asking(SOUNDER_ATTENTION_LSH);
  params.collisions = collisions;
  World world(shape, seed);
  Device device(world, kLayer, params);
  cuda::launch_sampled_attention(device.launcher, device.step, device.new_rows);
  device_memory::finish();
  const std::vector<uint16_t> rows = device.rows->values();
  const int group = shape.sketch.group();
  const LshSignature &signature = shape.sketch.signature;
  const auto strategy =
      make_lsh_strategy({level, group, world.index(), World::kIndexSeed, signature.bits, signature.tables});
  size_t found = 0;
  for (int context = 0; context < static_cast<int>(shape.lengths.size()); ++context) {
    const LshTables tables = tables_of(world, device, context, level);
    for (int kv_head = 0; kv_head < shape.sketch.kv_heads; ++kv_head) {
      check_signatures(world, device, tables, context, kv_head);
      View own(world, device, rows, context, kv_head);
      own.params.collisions = collisions;
      own.view.lsh = &tables;
      const size_t index = static_cast<size_t>(context) * shape.sketch.kv_heads + kv_head;
      const Chosen all = chosen_by(device, index, own.view.end);
      for (int h = 0; h < group; ++h) {
        Chosen chosen = chosen_by_head(device, index, all, h);
        CollisionWeight collision{};
        const Chosen expected = choose(*strategy, own.view, h, &collision);
        CHECK(chosen.keys == expected.keys);
        for (size_t i = 0; i < std::min(chosen.offsets.size(), expected.offsets.size()); ++i)
          CHECK_NEAR(chosen.offsets[i], expected.offsets[i], 1e-2 * std::fabs(expected.offsets[i]));
        weigh(own, collision, h, chosen);
        check_head(device, context, own, h, chosen, all.keys.size());
        found += chosen.keys.size();
      }
    }
  }
  tell(before, name_of(shape) + " lsh " + std::to_string(signature.bits) + " x " +
                   std::to_string(signature.tables) + " collisions " + std::to_string(collisions));
  return found;
}

}  // namespace cuda_checks
