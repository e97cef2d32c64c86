// SPDX-License-Identifier: Apache-2.0
//
// The GPU's kernels of sampled attention beside the CPU's: same records, scores, thresholds and rows, to the
// bit; results to rounding. Included by the test that runs on a GPU and by the one that emulates it.
#pragma once

#include "check.h"
#include "cuda_world_device.h"

namespace cuda_checks {

using namespace cuda_world;

constexpr const char *kLevel = "scalar";
constexpr int kLayer = 3;

inline std::string name_of(const WorldShape &s) {
  return "heads " + std::to_string(s.sketch.heads) + "/" + std::to_string(s.sketch.kv_heads) + " d " +
         std::to_string(s.sketch.head_dim) + " bits " + std::to_string(s.sketch.bits) + " contexts " +
         std::to_string(s.lengths.size());
}
// Says which case a failed check was of.
inline void tell(int failures_before, const std::string &name) {
  if (check::failures() > failures_before) std::printf("  … of %s\n", name.c_str());
}

// ---- one query token at one KV head, by the CPU
// ------------------------------------------------------------

struct View {
  StrategyView view{};
  std::vector<float> q, exact, error_signs;
  std::vector<uint16_t> rows;
  std::vector<char> scratch;
  SampledParams params{};

  View(World &world, const Device &device, const std::vector<uint16_t> &all_rows, int context, int kv_head) {
    const cuda::SketchShape &s = world.shape.sketch;
    const cuda::SampledQuery &query = device.host_queries[context];
    const int d = s.head_dim, group = s.group();
    q = copied(device.step.memory.q + (size_t(context) * s.heads + kv_head * group) * d, size_t(group) * d);
    const size_t size = static_cast<size_t>(sampled_floats(d)),
                 index = size_t(context) * s.kv_heads + kv_head;
    const std::vector<float> near = copied(device.step.memory.exact + index * cuda::kNearParts * group * size,
                                           cuda::kNearParts * group * size);
    exact.resize(size_t(group) * 2 * partial_floats(d));
    for (int h = 0; h < group; ++h) {
      float *state = exact.data() + size_t(h) * 2 * partial_floats(d);
      make_partial_empty(state, d);
      make_partial_empty(state + partial_floats(d), d);
      // The part with the greatest logit alone, the others together: what is merged here is rounded.
      auto part_of = [&](int part) { return near.data() + (size_t(part) * group + h) * size; };
      int greatest = 0;
      for (int part = 1; part < cuda::kNearParts; ++part)
        if (part_of(part)[d + 1] > part_of(greatest)[d + 1]) greatest = part;
      for (int part = 0; part < cuda::kNearParts; ++part)
        merge_partial(part == greatest ? state : state + partial_floats(d), part_of(part), d);
    }
    params.budget = world.shape.budget;
    params.beta = world.shape.beta;
    view.q = q.data();
    view.heads = group;
    view.head_dim = d;
    view.rows = all_rows.data() + size_t(kv_head) * kIndexTokens * 2 * d;
    view.block_stride = static_cast<int64_t>(world.row_values());
    view.records = world.aligned_records() + kv_head * world.record_stride();
    view.record_stride = s.kv_heads * world.record_stride();
    view.blocks = world.blocks.data() + world.first_block[context];
    view.begin = query.begin;
    view.end = query.end;
    view.budget = query.budget;
    view.params = &params;
    view.draw_seed =
        random_bits(query.seed, uint64_t{kLayer} << 32 | uint64_t(kv_head), uint64_t(query.position));
    view.kv_head = kv_head;
    view.layer = kLayer;
    view.exact = exact.data();
    view.segment_keys = query.segment_keys;
    scratch.resize(static_cast<size_t>(strategy_scratch_bytes(group, query.end)) + 64);
    view.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
    for (int i = 0; i < d; ++i) {
      const uint64_t bits = random_bits(view.draw_seed, uint64_t{1} << 40, static_cast<uint64_t>(i / 64));
      error_signs.push_back(bits >> (i % 64) & 1 ? 1.0f : -1.0f);
    }
  }
};

struct Chosen {
  std::vector<int32_t> keys;
  std::vector<float> offsets;
};

// head: whose choice is wanted, where it is not that of all. collision: what says how likely it was, where
// offsets alone do not.
inline Chosen choose(const Strategy &strategy, const StrategyView &view, int head = 0,
                     CollisionWeight *collision = nullptr) {
  const int segments = strategy.segments(view);
  for (int phase = 0; phase < strategy.phases(view); ++phase) {
    const int count = strategy.is_segmented(phase) ? segments : 1;
    for (int segment = 0; segment < count; ++segment) strategy.run_phase(phase, view, segment);
    strategy.finish_phase(phase, view);
  }
  Chosen all;
  const int capacity = std::max(view.segment_keys, most_segment_keys(view.end));
  std::vector<int32_t> keys(static_cast<size_t>(capacity));
  std::vector<float> offsets(keys.size());
  for (int segment = 0; segment < segments; ++segment) {
    Choice choice{keys.data(), offsets.data(), capacity};
    strategy.choose(view, segment, head, choice);
    if (collision != nullptr) *collision = choice.collision;
    all.keys.insert(all.keys.end(), keys.begin(), keys.begin() + choice.count);
    if (choice.certain) std::fill(offsets.begin(), offsets.end(), 0.0f);
    all.offsets.insert(all.offsets.end(), offsets.begin(), offsets.begin() + choice.count);
  }
  return all;
}

// What the device chose.
inline Chosen chosen_by(const Device &device, size_t view, int end) {
  const cuda::SampledMemory &m = device.step.memory;
  const size_t chunks = static_cast<size_t>(m.keys / cuda::kChunkKeys);
  const std::vector<int32_t> counts = copied(m.counts + view * chunks, chunks);
  Chosen all;
  for (size_t chunk = 0; chunk * cuda::kChunkKeys < static_cast<size_t>(end); ++chunk)
    for (const cuda::ChosenRow &row :
         copied(m.chosen + view * m.keys + chunk * cuda::kChunkKeys, static_cast<size_t>(counts[chunk]))) {
      all.keys.push_back(row.key);
      all.offsets.push_back(draw_table().offsets[row.distance]);
    }
  return all;
}

// The scores of the keys that may be chosen, head after head, as the strategy left them in its scratch.
inline void check_scores(const Device &device, size_t index, const StrategyView &view) {
  const cuda::SampledMemory &m = device.step.memory;
  int wrong = 0;
  for (int h = 0; h < view.heads; ++h) {
    const std::vector<int16_t> scores =
        copied(m.scores + (index * view.heads + h) * m.keys, size_t(view.end));
    for (int key = view.begin; key < view.end; ++key) {
      const int segment = key / view.segment_keys;
      wrong += scores[key] != segment_scores(view, h, segment)[key - segment_first(view, segment)];
    }
    for (int key = 0; key < view.begin; ++key) CHECK(scores[key] == INT16_MIN);
  }
  CHECK(wrong == 0);
}

inline void check_thresholds(const Device &device, size_t index, const StrategyView &view) {
  const auto thresholds =
      copied(device.step.memory.thresholds + index * (cuda::kMostGroup + 2), cuda::kMostGroup + 2);
  if (view.heads > 1)
    for (int h = 0; h < view.heads; ++h)
      CHECK_NEAR(thresholds[h], histogram_of(view, h, kMostSegments).threshold, 0);
  CHECK(thresholds[cuda::kMostGroup + 1] ==
        histogram_of(view, view.heads == 1 ? 0 : view.heads, kMostSegments).threshold);
}

// The values of keys or values of some rows, as doubles.
inline std::vector<double> widened(const StrategyView &view, const std::vector<int32_t> &keys,
                                   bool is_value) {
  const auto *rows = static_cast<const uint16_t *>(view.rows);
  std::vector<double> all;
  for (int32_t key : keys) {
    const uint16_t *row = rows + view.blocks[key / kIndexTokens] * view.block_stride +
                          int64_t{key % kIndexTokens} * 2 * view.head_dim;
    for (int i = 0; i < view.head_dim; ++i) all.push_back(from_bf16(row[is_value * view.head_dim + i]));
  }
  return all;
}

// Of what a device chose, what a head of the group did, where each chooses.
inline Chosen chosen_by_head(const Device &device, size_t view, const Chosen &all, int head) {
  const cuda::SampledMemory &m = device.step.memory;
  const size_t group = static_cast<size_t>(device.step.shape.group());
  const std::vector<uint32_t> words = copied(m.words + view * group * m.keys, group * m.keys);
  Chosen own;
  for (const int32_t key : all.keys) {
    const size_t chunk = static_cast<size_t>(key) / cuda::kChunkKeys;
    float offset;
    std::memcpy(&offset, &words[(chunk * group + head) * cuda::kChunkKeys + key % cuda::kChunkKeys], 4);
    if (std::isinf(offset)) continue;
    own.keys.push_back(key);
    own.offsets.push_back(offset);
  }
  return own;
}

// Of draws with replacement: one over how often each row was drawn, all of them `draws` times; 0 of the rows
// behind the first `chosen`, which are certain.
inline std::vector<double> inverse_counts(const std::vector<double> &q, const std::vector<double> &k,
                                          const std::vector<double> &offsets, size_t chosen, int draws) {
  std::vector<double> weights, inverse(offsets.size());
  for (size_t i = 0; i < chosen; ++i)
    weights.push_back(std::exp2(reference::logit(q.data(), &k[i * q.size()], int(q.size())) + offsets[i]));
  const double one = std::accumulate(weights.begin(), weights.end(), 0.0) / draws;
  for (size_t i = 0; i < chosen; ++i) inverse[i] = one / weights[i];
  return inverse;
}

// A head's rows, sink and tail in double precision. rows: those of its group.
inline void check_head(const Device &device, int context, const View &own, int h, const Chosen &chosen,
                       size_t rows) {
  const StrategyView &view = own.view;
  const cuda::SampledQuery &query = device.host_queries[context];
  const int d = view.head_dim, heads = device.step.shape.heads;
  std::vector<int32_t> keys = chosen.keys;
  std::vector<double> offsets(chosen.offsets.begin(), chosen.offsets.end());
  for (int key = 0; key <= query.position; ++key)
    if (key < view.begin || key >= view.end) {
      keys.push_back(key);
      offsets.push_back(0);
    }
  const std::vector<double> k = widened(view, keys, false), v = widened(view, keys, true);
  const std::vector<double> signs(own.error_signs.begin(), own.error_signs.end());
  const std::vector<double> q(own.q.begin() + int64_t{h} * d, own.q.begin() + int64_t{h + 1} * d);
  std::vector<double> state(static_cast<size_t>(d) + 5), expected(static_cast<size_t>(d));
  const std::vector<double> inverse = inverse_counts(q, k, offsets, chosen.keys.size(), query.draws);
  reference::gather({static_cast<int>(keys.size()), d, k.data(), v.data(), offsets.data(),
                     device.step.strategy.has_draws ? inverse.data() : nullptr},
                    q.data(), signs.data(), state.data());
  const auto result = reference::finish_gather(state.data(), signs.data(), d, expected.data());
  const size_t place = size_t(context) * heads + size_t(view.kv_head) * view.heads + h;
  const std::vector<float> output = copied(device.step.output + place * d, size_t(d));
  double error = 0, square = 0;
  for (int i = 0; i < d; ++i) {
    error += (output[i] - expected[i]) * (output[i] - expected[i]);
    square += expected[i] * expected[i];
  }
  CHECK(std::sqrt(error / square) < 2e-5);
  const std::vector<float> statistics =
      copied(device.step.statistics + cuda::kStatistics * place, cuda::kStatistics);
  CHECK(statistics[0] == static_cast<float>(rows));
  CHECK(statistics[4] == static_cast<float>(chosen.keys.size()));
  CHECK_NEAR(statistics[1], result.inverse_samples, 1e-4 * result.inverse_samples + 1e-9);
  CHECK_NEAR(statistics[2], result.squared_error, 1e-3 * result.squared_error + 1e-9);
}

// ---- laws ----------------------------------------------------------------------------------------------

inline void check_attention(const WorldShape &shape, uint32_t seed) {
  const int before = check::failures();
  World world(shape, seed);
  world.seal(*sketch_kernels(kLevel));
  Device device(world, kLayer);
  cuda::launch_sampled_attention(device.launcher, device.step, device.new_rows);
  device_memory::finish();
  const std::vector<uint16_t> rows = device.rows->values();
  const int group = shape.sketch.group();
  const auto strategy = make_sketch_strategy({kLevel, group, world.index(), World::kIndexSeed, 0, 0});
  for (int context = 0; context < static_cast<int>(shape.lengths.size()); ++context)
    for (int kv_head = 0; kv_head < shape.sketch.kv_heads; ++kv_head) {
      View own(world, device, rows, context, kv_head);
      const size_t index = static_cast<size_t>(context) * shape.sketch.kv_heads + kv_head;
      const Chosen expected = choose(*strategy, own.view), chosen = chosen_by(device, index, own.view.end);
      check_thresholds(device, index, own.view);
      CHECK(chosen.keys == expected.keys);
      CHECK(chosen.offsets == expected.offsets);
      CHECK(!chosen.keys.empty());
      for (int h = 0; h < group; ++h) check_head(device, context, own, h, chosen, chosen.keys.size());
      check_scores(device, index, own.view);
    }
  tell(before, name_of(shape));
}

// Of a strategy that looks at each key or page: the world is coarse, so that true scores are the same.
inline void check_strategy(WorldShape shape, const SampledParams &params, uint32_t seed) {
  const int before = check::failures();
  shape.coarse = true;
  World world(shape, seed);
  world.seal(*sketch_kernels(kLevel));
  Device device(world, kLayer, params);
  cuda::launch_sampled_attention(device.launcher, device.step, device.new_rows);
  device_memory::finish();
  const std::vector<uint16_t> rows = device.rows->values();
  const int group = shape.sketch.group();
  const auto strategies = make_strategies({kLevel, group, world.index(), World::kIndexSeed, 0, 0});
  const Strategy &strategy = *strategies[size_t(params.attention)];
  for (int context = 0; context < static_cast<int>(shape.lengths.size()); ++context)
    for (int kv_head = 0; kv_head < shape.sketch.kv_heads; ++kv_head) {
      View own(world, device, rows, context, kv_head);
      own.params.draws = params.draws;
      const size_t index = static_cast<size_t>(context) * shape.sketch.kv_heads + kv_head;
      const Chosen all = chosen_by(device, index, own.view.end);
      CHECK(!all.keys.empty());
      for (int h = 0; h < group; ++h) {
        const Chosen chosen = strategy.is_shared(own.view) ? all : chosen_by_head(device, index, all, h);
        const Chosen expected = choose(strategy, own.view, h);
        CHECK(chosen.keys == expected.keys);
        for (size_t i = 0; i < std::min(chosen.offsets.size(), expected.offsets.size()); ++i)
          CHECK_NEAR(chosen.offsets[i], expected.offsets[i], 1e-6);
        check_head(device, context, own, h, chosen, all.keys.size());
      }
    }
  tell(before, name_of(shape) + " strategy " + std::to_string(params.attention));
}

}  // namespace cuda_checks
