// SPDX-License-Identifier: Apache-2.0
//
// Products by every way that this machine has (levels, oneDNN, our own) against the double reference.
#include "matmul.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "reference/ops.h"

using sounder::Kernels;
using sounder::Matmul;
using sounder::ThreadTeam;
using sounder::WeightMatrix;

namespace {

std::mt19937 random_bits(2);

float round_to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u);
}

// Everything of one product; w holds bf16 values in either format.
struct Case {
  int rows, columns, tokens;
  bool is_f32;
  std::vector<float> w_f32, x, bias;
  std::vector<uint16_t> w_bf16;

  Case(int rows, int columns, int tokens, bool is_f32)
      : rows(rows),
        columns(columns),
        tokens(tokens),
        is_f32(is_f32),
        w_f32(int64_t{rows} * columns),
        x(int64_t{tokens} * columns),
        bias(rows) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float &value : w_f32) {
      value = round_to_bf16(uniform(random_bits));
      w_bf16.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    for (float &value : x) value = uniform(random_bits);
    for (float &value : bias) value = uniform(random_bits);
  }
  WeightMatrix matrix() const {
    return {is_f32 ? static_cast<const void *>(w_f32.data()) : w_bf16.data(), rows, columns, is_f32};
  }
  std::vector<double> exact() const {
    std::vector<double> y(int64_t{tokens} * rows);
    std::vector<double> wide_w(w_f32.begin(), w_f32.end()), wide_x(x.begin(), x.end()),
        wide_bias(bias.begin(), bias.end());
    sounder::reference::matmul(wide_w.data(), rows, columns, wide_x.data(), tokens, wide_bias.data(),
                               y.data());
    return y;
  }
  // Twice the largest error of a plain f32 loop, over bf16 x where the product rounds it so, and two units in
  // the last place of the size that such sums have.
  double tolerance(const std::vector<double> &exact, bool rounds_x) const {
    double worst = 0, size = 0;
    for (int t = 0; t < tokens; ++t) {
      for (int r = 0; r < rows; ++r) {
        float sum = bias[r];
        double squares = 1;
        for (int c = 0; c < columns; ++c) {
          float value = x[int64_t{t} * columns + c];
          float term = w_f32[int64_t{r} * columns + c] * (rounds_x ? round_to_bf16(value) : value);
          sum += term;
          squares += static_cast<double>(term) * term;
        }
        worst = std::max(worst, std::fabs(sum - exact[int64_t{t} * rows + r]));
        size = std::max(size, std::sqrt(squares));
      }
    }
    return 2 * worst + 2.4e-7 * size;
  }
};

void check_case(Matmul &matmul, const Case &c) {
  constexpr float kUntouched = 1234;
  const int y_stride = c.rows + 5;
  std::vector<float> y(int64_t{c.tokens} * y_stride, kUntouched);
  matmul.multiply(c.matrix(), c.x.data(), c.tokens, c.bias.data(), y.data(), y_stride);
  std::vector<double> exact = c.exact();
  bool rounds_x = !c.is_f32 && c.tokens > sounder::kStreamBeforeTiles &&
                  std::strstr(matmul.description(), "bf16") != nullptr;
  double tolerance = c.tolerance(exact, rounds_x), worst = 0;
  bool gaps = true;
  for (int t = 0; t < c.tokens; ++t) {
    for (int r = 0; r < y_stride; ++r) {
      float value = y[int64_t{t} * y_stride + r];
      if (r >= c.rows) {
        gaps = gaps && value == kUntouched;
      } else {
        double error = std::fabs(value - exact[int64_t{t} * c.rows + r]);
        if (!(error <= worst)) worst = error;
      }
    }
  }
  if (!(worst <= tolerance) || !gaps) {
    std::printf("  %s: rows %d columns %d tokens %d f32 %d: error %.3g of %.3g, gaps kept %d\n",
                matmul.description(), c.rows, c.columns, c.tokens, c.is_f32, worst, tolerance, gaps);
    check::fail(__FILE__, __LINE__, "product");
  }
}

// Calls test for each level, with oneDNN where it is there and without.
void for_each_way(const std::function<void(const Kernels &)> &test) {
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  for (const char *onednn : {"on", "off"}) {
    setenv("SOUNDER_ONEDNN", onednn, 1);
    for (int i = 0; i < count; ++i) test(*levels[i]);
  }
  unsetenv("SOUNDER_ONEDNN");
}

int threads_of_process() {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("Threads:", 0) == 0) return std::atoi(line.c_str() + 8);
  }
  return -1;
}

}  // namespace

TEST("every way multiplies every batch right: tokens 1 to 17 and large, odd shapes, bf16 and f32") {
  for_each_way([](const Kernels &kernels) {
    ThreadTeam team(3);
    Matmul matmul(team, kernels, 700, 300, 300, false);
    std::printf("  %s: %s\n", kernels.name, matmul.description());
    for (bool is_f32 : {false, true}) {
      for (int tokens = 1; tokens <= 17; ++tokens) check_case(matmul, {37, 129, tokens, is_f32});
      for (int tokens : {31, 32, 33, 64, 65, 100, 129}) check_case(matmul, {131, 67, tokens, is_f32});
      check_case(matmul, {1, 1, 1, is_f32});
      check_case(matmul, {1, 1, 40, is_f32});
      check_case(matmul, {300, 300, 20, is_f32});
      check_case(matmul, {65, 300, 700, is_f32});
    }
  });
}

TEST("no bias means no bias") {
  for_each_way([](const Kernels &kernels) {
    ThreadTeam team(2);
    Matmul matmul(team, kernels, 64, 70, 64, false);
    for (int tokens : {3, 64}) {
      Case c(70, 64, tokens, false);
      std::vector<float> y(tokens * 70), with(tokens * 70);
      matmul.multiply(c.matrix(), c.x.data(), tokens, nullptr, y.data(), 70);
      std::fill(c.bias.begin(), c.bias.end(), 0.0f);
      matmul.multiply(c.matrix(), c.x.data(), tokens, c.bias.data(), with.data(), 70);
      CHECK(std::equal(y.begin(), y.end(), with.begin()));
    }
  });
}

TEST("deterministic: a row's result is bitwise the same alone, in any batch, on any number of threads") {
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  for (int i = 0; i < count; ++i) {
    constexpr int kTokens = 600, kRows = 130, kColumns = 257;
    for (bool is_f32 : {false, true}) {
      Case c(kRows, kColumns, kTokens, is_f32);
      std::vector<float> alone(kTokens * kRows), y(kTokens * kRows);
      ThreadTeam one(1);
      Matmul single(one, *levels[i], kTokens, kRows, kColumns, true);
      CHECK(std::string(single.description()).find("deterministic") != std::string::npos);
      for (int t = 0; t < kTokens; ++t) {
        single.multiply(c.matrix(), c.x.data() + t * kColumns, 1, c.bias.data(), &alone[t * kRows], kRows);
      }
      ThreadTeam three(3);
      Matmul matmul(three, *levels[i], kTokens, kRows, kColumns, true);
      for (int tokens : {2, 15, 16, 17, 33, 600}) {
        matmul.multiply(c.matrix(), c.x.data(), tokens, c.bias.data(), y.data(), kRows);
        CHECK(std::memcmp(y.data(), alone.data(), tokens * kRows * sizeof(float)) == 0);
      }
    }
  }
}

TEST("no library adds threads of its own") {
  for_each_way([](const Kernels &kernels) {
    ThreadTeam team(3);
    int before = threads_of_process();
    Matmul matmul(team, kernels, 256, 300, 300, false);
    check_case(matmul, {300, 300, 256, false});
    CHECK(before > 0);
    CHECK(threads_of_process() == before);
  });
}

TEST("the description says what multiplies, and why not oneDNN") {
  ThreadTeam team(1);
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  setenv("SOUNDER_ONEDNN", "off", 1);
  Matmul own(team, *levels[0], 1, 1, 1, false);
  unsetenv("SOUNDER_ONEDNN");
  bool scalar = std::string(levels[0]->name) == "scalar";
  CHECK(std::string(own.description()) ==
        (scalar ? "own blocked product (the scalar level)" : "own blocked product (SOUNDER_ONEDNN=off)"));
  Matmul best(team, *levels[0], 1, 1, 1, false);
  std::string text = best.description();
  CHECK(text.rfind("oneDNN ", 0) == 0 || text.rfind("own blocked product (", 0) == 0);
  Matmul plain(team, *levels[count - 1], 1, 1, 1, false);
  CHECK(std::string(plain.description()) == "own blocked product (the scalar level)");
}

TEST("the memory formula is the one in the header") {
  for (int threads : {1, 2, 64}) {
    for (int columns : {1, 576, 14336}) {
      for (int tokens : {1, 32, 33, 8192}) {
        int64_t rounded = (tokens + 31) / 32 * 32;
        int64_t expected = int64_t{threads} * 256 * (columns + 1536) + 2 * int64_t{columns} * rounded;
        CHECK(Matmul::workspace_bytes(threads, tokens, 128256, columns) == expected);
      }
    }
  }
}
