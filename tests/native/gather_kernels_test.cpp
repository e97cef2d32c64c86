// SPDX-License-Identifier: Apache-2.0
//
// The gather kernels of every level that this machine has against double precision: a kernel may be twice as
// far from it as the plain loop of floats.
#include "check.h"
#include "gather_rows.h"

using namespace gather_rows;

namespace {

// The same sums in floats, key after key.
std::vector<float> plain_state(const Rows &rows, int query) {
  const int d = rows.shape.head_dim;
  const float unit = static_cast<float>(std::log2(std::exp(1.0)) / std::sqrt(double(d)));
  std::vector<float> state(d + 5), logits(rows.shape.count), uncertain(rows.shape.count);
  float maximum = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < rows.shape.count; ++i) {
    float product = 0, offset = rows.offsets.empty() ? 0 : rows.offsets[i];
    for (int c = 0; c < d; ++c) product += rows.q[query * d + c] * rows.k[i * d + c];
    logits[i] = product * unit;
    if (rows.shape.kind == Kind::kCollision) {
      const float cosine = std::clamp((logits[i] - rows.collision.mean) * offset, -1.0f, 1.0f);
      const float place = (cosine + 1) * (sounder::kCollisionPoints / 2);
      const int low = std::min(static_cast<int>(place), sounder::kCollisionPoints - 1);
      offset = rows.table[low] + (place - static_cast<float>(low)) * (rows.table[low + 1] - rows.table[low]);
    }
    logits[i] += offset;
    uncertain[i] = 1 - std::min(1.0f, std::exp2(-offset));
    maximum = std::max(maximum, logits[i]);
  }
  for (int i = 0; i < rows.shape.count; ++i) {
    const float w = std::exp2(logits[i] - maximum), g = uncertain[i] * w * w;
    float y = 0;
    for (int c = 0; c < d; ++c) {
      state[c] += w * rows.v[i * d + c];
      y += rows.signs[c] * rows.v[i * d + c];
    }
    state[d] += w;
    state[d + 2] += g;
    state[d + 3] += g * y;
    state[d + 4] += g * y * y;
  }
  state[d + 1] = maximum;
  return state;
}

double output_error(const Meaning &a, const Meaning &b) {
  double error = 0;
  for (size_t i = 0; i < a.output.size(); ++i) error = std::max(error, std::fabs(a.output[i] - b.output[i]));
  return error;
}

// Each against the exact one, for one query; the largest over queries count.
struct Errors {
  double output = 0, log_sum = 0, inverse_samples = 0, squared_error = 0;
  void take(const Meaning &got, const Meaning &exact) {
    output = std::max(output, output_error(got, exact));
    log_sum = std::max(log_sum, std::fabs(got.log_sum - exact.log_sum));
    inverse_samples = std::max(inverse_samples, std::fabs(got.inverse_samples - exact.inverse_samples));
    squared_error = std::max(squared_error, std::fabs(got.squared_error - exact.squared_error));
  }
};

void check_within(const char *what, const std::string &name, double error, double allowed) {
  if (error <= allowed) return;  // NaN is not
  check::fail(
      __FILE__, __LINE__,
      (name + ": " + what + " off by " + std::to_string(error) + ", allowed " + std::to_string(allowed))
          .c_str());
}

void check_case(const sounder::GatherKernels &kernels, const Case &shape) {
  const Rows rows = make_rows(shape);
  const std::vector<float> states = run(kernels, rows);
  const int d = shape.head_dim, size = sounder::sampled_floats(d);
  Errors kernel, plain;
  double rounding = 0;  // of a logit in float: what luck may have spared the plain loop
  for (int r = 0; r < shape.queries; ++r) {
    const Meaning exact = exact_meaning(rows, r);
    plain.take(meaning_of(plain_state(rows, r).data(), rows.signs, d), exact);
    rounding = std::max(rounding, std::fabs(exact.log_sum) * std::numeric_limits<float>::epsilon());
    kernel.take(meaning_of(&states[size_t(r) * size], rows.signs, d), exact);
  }
  const std::string name = name_of(kernels.name, shape);
  check_within("output", name, kernel.output, 2 * plain.output + rounding + 2e-6);
  check_within("log of the sum", name, kernel.log_sum, 2 * plain.log_sum + rounding + 4e-6);
  check_within("1 / samples", name, kernel.inverse_samples, 2 * plain.inverse_samples + rounding + 2e-6);
  check_within("squared error", name, kernel.squared_error, 2 * plain.squared_error + rounding + 4e-6);
}

constexpr Kind kKinds[] = {Kind::kCertain, Kind::kOffsets, Kind::kCollision};

}  // namespace

TEST("every level gathers odd sizes as the reference does") {
  for_levels([](const sounder::GatherKernels &kernels) {
    uint32_t seed = 1;
    for (int d : {2, 6, 16, 30, 64, 80, 96, 128, 130, 256})
      for (int count : {1, 3, 4, 15, 16, 17, 48, 64, 81, 200})
        for (Kind kind : kKinds) {
          const int queries = 1 + static_cast<int>(seed * 7 % 16);
          check_case(kernels, {d, queries, count, seed % 2 == 0, kind, 1.0f, seed});
          ++seed;
        }
  });
}

TEST("groups of 1 to 16 queries, few keys that matter and many") {
  for_levels([](const sounder::GatherKernels &kernels) {
    for (int queries = 1; queries <= sounder::kMostGatherQueries; ++queries)
      for (bool is_f32 : {false, true})
        for (float spread : {0.1f, 3.0f})
          check_case(kernels, {64, queries, 333, is_f32, kKinds[queries % 3], spread, uint32_t(queries)});
  });
}

TEST("no keys give the state of no keys") {
  for_levels([](const sounder::GatherKernels &kernels) {
    for (Kind kind : kKinds)
      for (int queries : {1, 5}) {
        const Rows rows = make_rows({80, queries, 20, false, kind});
        std::vector<float> empty(sounder::sampled_floats(80)), states = run(kernels, rows, 7, 7);
        sounder::make_sampled_empty(empty.data(), 80);
        for (size_t i = 0; i < states.size(); ++i) CHECK(states[i] == empty[i % empty.size()]);
      }
  });
}

TEST("a value that is no number reaches the result, and no index comes of it") {
  for_levels([](const sounder::GatherKernels &kernels) {
    for (Kind kind : kKinds) {
      Rows rows = make_rows({64, 2, 40, true, kind});
      rows.k[17 * 64 + 5] = std::nanf("");
      write_row(rows, 17);
      const std::vector<float> states = run(kernels, rows);
      CHECK(std::isnan(states[0]));
      CHECK(std::isnan(states[64]));
    }
  });
}

TEST("certain keys leave no error, and offsets below 0 count as certain") {
  for_levels([](const sounder::GatherKernels &kernels) {
    Rows rows = make_rows({64, 3, 100, false, Kind::kOffsets});
    for (float &x : rows.offsets) x = std::min(x, 0.0f);
    for (const Rows &some : {rows, make_rows({64, 3, 100, false, Kind::kCertain})}) {
      const std::vector<float> states = run(kernels, some);
      for (int r = 0; r < 3; ++r) {
        const Meaning meaning = meaning_of(&states[r * 69], some.signs, 64);
        CHECK(meaning.inverse_samples == 0);
        CHECK(meaning.squared_error == 0);
      }
    }
  });
}

TEST("equal keys drawn with equal chance count as independent draws do") {
  for_levels([](const sounder::GatherKernels &kernels) {
    for (float offset : {0.01f, 1.0f, 6.0f}) {
      Rows rows = make_rows({64, 2, 500, false, Kind::kOffsets});
      std::fill(rows.q.begin(), rows.q.end(), 0.0f);
      std::fill(rows.offsets.begin(), rows.offsets.end(), offset);
      const std::vector<float> states = run(kernels, rows);
      const double expected = (1 - std::exp2(-offset)) / 500;
      CHECK_NEAR(meaning_of(states.data(), rows.signs, 64).inverse_samples, expected, 1e-5 * expected);
    }
  });
}

TEST("unknown levels have no table") {
  CHECK(sounder::gather_kernels("sse9") == nullptr);
  CHECK(sounder::gather_kernels("scalar") != nullptr);
}
