// SPDX-License-Identifier: Apache-2.0
//
// The laws of sampled states: however the keys are cut, the merged parts say the same.
#include "attention/attention_kernels.h"
#include "attention/partial.h"
#include "check.h"
#include "gather_rows.h"

using namespace gather_rows;

namespace {

const sounder::GatherKernels &best_level() {
  int count = 0;
  return *sounder::gather_kernels(sounder::usable_levels(&count)[0]->name);
}

void check_same(const Meaning &got, const Meaning &expected, double tolerance) {
  for (size_t i = 0; i < expected.output.size(); ++i)
    CHECK_NEAR(got.output[i], expected.output[i], tolerance);
  CHECK_NEAR(got.log_sum, expected.log_sum, 10 * tolerance);
  CHECK_NEAR(got.inverse_samples, expected.inverse_samples, tolerance);
  CHECK_NEAR(got.squared_error, expected.squared_error, 4 * tolerance * (1 + expected.squared_error));
}

constexpr double kTolerance = 4e-6;

std::vector<float> merged(const std::vector<float> &a, const std::vector<float> &b, int d) {
  std::vector<float> into = a;
  sounder::merge_sampled(into.data(), b.data(), d);
  return into;
}

// Cuts anywhere, empty parts included.
std::vector<int> random_cuts(int count, std::mt19937 &random) {
  std::vector<int> cuts{0, count};
  for (int i = static_cast<int>(random() % 6); i > 0; --i)
    cuts.push_back(static_cast<int>(random() % (count + 1)));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace

TEST("any cut of the list of keys says the same as the whole list") {
  std::mt19937 random(3);
  for_levels([&](const sounder::GatherKernels &kernels) {
    for (int round = 0; round < 24; ++round) {
      const Case shape{64,   1 + round % 5,  1 + 37 * round, round % 2 == 0, Kind(round % 3),
                       1.5f, uint32_t(round)};
      const Rows rows = make_rows(shape);
      const std::vector<float> whole = run(kernels, rows);
      const std::vector<int> cuts = random_cuts(shape.count, random);
      std::vector<std::vector<float>> parts;
      for (size_t i = 1; i < cuts.size(); ++i) parts.push_back(run(kernels, rows, cuts[i - 1], cuts[i]));
      std::shuffle(parts.begin(), parts.end(), random);
      for (int r = 0; r < shape.queries; ++r) {
        std::vector<float> sum(69);
        sounder::make_sampled_empty(sum.data(), 64);
        for (const auto &part : parts) sounder::merge_sampled(sum.data(), &part[r * 69], 64);
        check_same(meaning_of(sum.data(), rows.signs, 64), meaning_of(&whole[r * 69], rows.signs, 64),
                   kTolerance);
      }
    }
  });
}

TEST("merging is associative and commutative") {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    const int d = 2 + 2 * static_cast<int>(seed);
    const Rows rows = make_rows({d, 1, 90, false, Kind::kOffsets, 3.0f, seed});
    const auto a = run(best_level(), rows, 0, 20), b = run(best_level(), rows, 20, 50),
               c = run(best_level(), rows, 50, 90);
    const Meaning left = meaning_of(merged(merged(a, b, d), c, d).data(), rows.signs, d);
    check_same(meaning_of(merged(a, merged(b, c, d), d).data(), rows.signs, d), left, kTolerance);
    check_same(meaning_of(merged(c, merged(b, a, d), d).data(), rows.signs, d), left, kTolerance);
  }
}

TEST("the state of no keys changes nothing, to the bit") {
  const Rows rows = make_rows({96, 1, 33, false, Kind::kOffsets, 3.0f});
  const std::vector<float> state = run(best_level(), rows);
  std::vector<float> empty(state.size()), partial(sounder::partial_floats(96));
  sounder::make_sampled_empty(empty.data(), 96);
  sounder::make_partial_empty(partial.data(), 96);
  CHECK(merged(state, empty, 96) == state);
  CHECK(merged(empty, state, 96) == state);
  CHECK(merged(empty, empty, 96) == empty);
  std::vector<float> with_partial = state;
  sounder::merge_exact(with_partial.data(), partial.data(), 96);
  CHECK(with_partial == state);
  std::vector<float> output(96, 7.0f);
  const sounder::SampledResult result =
      sounder::finish_sampled(empty.data(), rows.signs.data(), 96, output.data());
  for (float x : output) CHECK(x == 0.0f);
  CHECK(result.inverse_samples == 0.0f && result.squared_error == 0.0f);
}

TEST("maxima far apart merge without overflow") {
  const Rows rows = make_rows({16, 1, 20, false, Kind::kOffsets});
  std::vector<float> low = run(best_level(), rows), high = low;
  low[17] = -3e38f;
  high[17] = 3e38f;
  CHECK(merged(low, high, 16) == high);
  CHECK(merged(high, low, 16) == high);
}

TEST("exact keys merge as certain ones among the gathered") {
  for (int certain : {1, 16, 100}) {
    Rows rows = make_rows({64, 2, 300, false, Kind::kOffsets});
    // The sink: the keys before `certain`, consecutive, so that the stream kernel can attend them.
    std::iota(rows.keys.begin(), rows.keys.begin() + certain, 0);
    for (int i = certain; i < 300; ++i) rows.keys[i] = certain + i;
    for (int i = 0; i < 300; ++i) write_row(rows, i);
    std::fill(rows.offsets.begin(), rows.offsets.begin() + certain, 0.0f);
    const std::vector<float> whole = run(best_level(), rows);
    std::vector<float> parts = run(best_level(), rows, certain, 300);

    std::vector<float> partial(2 * 66), scratch(sounder::attention_scratch_floats(64) + 16);
    sounder::AttentionTask task{};
    task.rows = rows.slab();
    task.block_stride = rows.block_stride;
    task.blocks = rows.blocks.data();
    task.key_end = certain;
    task.q = rows.q.data();
    task.tokens = 1;
    task.heads = 2;
    task.head_dim = 64;
    task.position = 1000;
    task.partial = partial.data();
    task.partial_head_stride = 66;
    task.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) / 4;
    sounder::attention_kernels("scalar")->stream_bf16(task);
    for (int r = 0; r < 2; ++r) {
      sounder::merge_exact(&parts[r * 69], &partial[r * 66], 64);
      check_same(meaning_of(&parts[r * 69], rows.signs, 64), meaning_of(&whole[r * 69], rows.signs, 64),
                 kTolerance);
    }
  }
}
