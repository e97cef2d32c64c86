// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of every instruction level that this machine runs, against the double-precision reference:
// odd sizes, misaligned pointers, buffers that end in NaN and are checked for stray writes. An error may be
// twice that of the plain float32 loop, plus a few units in the last place of the result's scale.
#include "cpu/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "reference/ops.h"

using sounder::Kernels;
namespace reference = sounder::reference;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kGuard = 40;  // values before and after the part of a buffer that a kernel may touch

std::mt19937 random_bits(1);

float random_float() { return std::normal_distribution<float>()(random_bits); }

uint16_t round_to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float widen(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }
float widen(float x) { return x; }

float guard_of(float) { return kNan; }
uint16_t guard_of(uint16_t) { return 0x7fc1; }  // a NaN

// n random values between guards, starting at an odd place.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t n, int shift = 1) : n_(n), start_(kGuard + shift) {
    all_.assign(n + 2 * kGuard + 16, guard_of(T{}));
    for (int64_t i = 0; i < n; ++i) data()[i] = make(random_float());
  }
  T *data() { return all_.data() + start_; }
  T &operator[](int64_t i) { return data()[i]; }
  int64_t size() const { return n_; }
  std::vector<double> wide() { return reference::widen(data(), n_); }
  void fill(float x) { std::fill(data(), data() + n_, make(x)); }

  // Whether everything outside the n values is as it was.
  bool guarded() const {
    T guard = guard_of(T{});
    for (int64_t i = 0; i < static_cast<int64_t>(all_.size()); ++i) {
      bool inside = i >= start_ && i < start_ + n_;
      if (!inside && std::memcmp(&all_[i], &guard, sizeof(T)) != 0) return false;
    }
    return true;
  }

 private:
  static T make(float x) {
    if constexpr (sizeof(T) == 2) return round_to_bf16(x);
    return static_cast<T>(x);
  }
  int64_t n_, start_;
  std::vector<T> all_;
};

void for_each_level(const std::function<void(const Kernels &)> &test) {
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  for (int i = 0; i < count; ++i) {
    int before = check::failures();
    test(*levels[i]);
    if (check::failures() != before) std::printf("  (level %s)\n", levels[i]->name);
  }
}

// Twice the largest error of plain float32 loops over the same sums, and two units in the last place of the
// size that sums of this many terms have. Where there are few sums, one loop may be lucky: then each is
// taken in several orders, starting at several places.
template <typename T>
double tolerance_of(Buffer<T> &w, Buffer<float> &x, int rows, int columns, int tokens,
                    const std::vector<double> &exact) {
  double worst = 0, size = 0;
  const int orders = std::clamp(100 / (rows * tokens), 1, columns);
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < rows; ++r) {
      for (int order = 0; order < orders; ++order) {
        float sum = 0;
        double squares = 0;
        for (int i = 0; i < columns; ++i) {
          int c = (i + order * columns / orders) % columns;
          float term = widen(w[int64_t{r} * columns + c]) * x[int64_t{t} * columns + c];
          sum += term;
          squares += static_cast<double>(term) * term;
        }
        worst = std::max(worst, std::fabs(sum - exact[int64_t{t} * rows + r]));
        size = std::max(size, std::sqrt(squares));
      }
    }
  }
  return 2 * worst + 2.4e-7 * size;
}

template <typename T>
void check_product(const char *what, Buffer<T> &w, Buffer<float> &x, int rows, int columns, int tokens,
                   const std::function<void(float *y, int y_stride)> &multiply) {
  std::vector<double> exact(int64_t{tokens} * rows);
  reference::matmul(w.wide().data(), rows, columns, x.wide().data(), tokens, nullptr, exact.data());
  double tolerance = tolerance_of(w, x, rows, columns, tokens, exact), worst = 0;
  const int y_stride = rows + 3;  // the gap must stay as it is
  Buffer<float> y(int64_t{tokens} * y_stride);
  y.fill(7);
  multiply(y.data(), y_stride);
  bool gaps = true;
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < y_stride; ++r) {
      float value = y[int64_t{t} * y_stride + r];
      if (r >= rows) {
        gaps = gaps && value == 7;
      } else {
        double error = std::fabs(value - exact[int64_t{t} * rows + r]);
        if (!(error <= worst)) worst = error;  // NaN counts as worst
      }
    }
  }
  if (!(worst <= tolerance) || !gaps || !y.guarded()) {
    std::printf("  %s rows %d columns %d tokens %d: error %.3g of %.3g, gaps kept %d, guards kept %d\n", what,
                rows, columns, tokens, worst, tolerance, gaps, y.guarded());
    check::fail(__FILE__, __LINE__, what);
  }
}

template <typename T>
auto matvec_of(const Kernels &kernels) {
  if constexpr (sizeof(T) == 2) {
    return kernels.matvec_bf16;
  } else {
    return kernels.matvec_f32;
  }
}

template <typename T>
auto gemm_of(const Kernels &kernels) {
  if constexpr (sizeof(T) == 2) {
    return kernels.gemm_bf16;
  } else {
    return kernels.gemm_f32;
  }
}

template <typename T>
void check_matvec(const Kernels &kernels, int rows, int columns, int batch) {
  Buffer<T> w(int64_t{rows} * columns, 3);
  Buffer<float> x(int64_t{batch} * columns);
  check_product("matvec", w, x, rows, columns, batch, [&](float *y, int y_stride) {
    matvec_of<T>(kernels)(w.data(), x.data(), columns, y, y_stride, rows, columns, batch);
  });
}

template <typename T>
void check_gemm(const Kernels &kernels, int tokens, int rows, int columns) {
  Buffer<T> w(int64_t{rows} * columns, 5);
  Buffer<float> x(int64_t{tokens} * columns);
  Buffer<float> scratch(sounder::gemm_scratch(rows));
  scratch.fill(kNan);
  check_product("gemm", w, x, rows, columns, tokens, [&](float *y, int y_stride) {
    gemm_of<T>(kernels)(x.data(), columns, w.data(), columns, y, y_stride, tokens, rows, columns,
                        scratch.data());
  });
  CHECK(scratch.guarded());
}

// Checks n results against exact ones; tolerance relative to the largest of plain's errors.
void check_values(const char *what, int n, Buffer<float> &values, const std::vector<float> &plain,
                  const std::vector<double> &exact) {
  double allowed = 0, scale = 0, worst = 0;
  for (int i = 0; i < n; ++i) {
    allowed = std::max(allowed, std::fabs(plain[i] - exact[i]));
    scale = std::max(scale, std::fabs(exact[i]));
    double error = std::fabs(values[i] - exact[i]);
    if (!(error <= worst)) worst = error;
  }
  double tolerance = 2 * allowed + 4e-7 * scale;
  if (!(worst <= tolerance) || !values.guarded()) {
    std::printf("  %s n %d: error %.3g of %.3g, guards kept %d\n", what, n, worst, tolerance,
                values.guarded());
    check::fail(__FILE__, __LINE__, what);
  }
}

const std::vector<int> kLengths = {1,  2,  3,  5,  7,  8,  9,   15,  16,  17,  23,  31,  32,
                                   33, 47, 63, 64, 65, 96, 127, 129, 255, 511, 577, 1000};

}  // namespace

TEST("this machine runs the scalar level at least, best first") {
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  CHECK(count >= 1);
  CHECK(std::string(levels[count - 1]->name) == "scalar");
  std::printf("  levels:");
  for (int i = 0; i < count; ++i) std::printf(" %s", levels[i]->name);
  std::printf("\n");
}

TEST("matvec: every batch from 1 to 16, odd rows and columns, bf16 and f32") {
  for_each_level([](const Kernels &kernels) {
    for (int batch = 1; batch <= sounder::kMatvecBatch; ++batch) {
      for (int columns : {1, 7, 8, 17, 33, 64, 95, 577}) {
        for (int rows : {1, 3, 8, 13}) {
          check_matvec<uint16_t>(kernels, rows, columns, batch);
          check_matvec<float>(kernels, rows, columns, batch);
        }
      }
    }
    check_matvec<uint16_t>(kernels, 67, 4099, 5);
    check_matvec<float>(kernels, 67, 4099, 5);
  });
}

TEST("matvec: a result does not depend on its row's place, the other rows or the batch") {
  for_each_level([](const Kernels &kernels) {
    constexpr int kRows = 21, kColumns = 333;
    Buffer<uint16_t> w(kRows * kColumns);
    Buffer<float> x(sounder::kMatvecBatch * kColumns);
    std::vector<float> alone(kRows * sounder::kMatvecBatch), y(kRows * sounder::kMatvecBatch);
    for (int b = 0; b < sounder::kMatvecBatch; ++b) {
      for (int r = 0; r < kRows; ++r) {
        kernels.matvec_bf16(w.data() + r * kColumns, x.data() + b * kColumns, kColumns, &alone[b * kRows + r],
                            1, 1, kColumns, 1);
      }
    }
    for (int batch = 1; batch <= sounder::kMatvecBatch; ++batch) {
      kernels.matvec_bf16(w.data(), x.data(), kColumns, y.data(), kRows, kRows, kColumns, batch);
      CHECK(std::memcmp(y.data(), alone.data(), batch * kRows * sizeof(float)) == 0);
    }
    constexpr int kStride = kColumns + 5;  // rows of x need not touch each other
    std::vector<float> apart(sounder::kMatvecBatch * kStride, kNan);
    for (int b = 0; b < sounder::kMatvecBatch; ++b) {
      std::copy_n(x.data() + b * kColumns, kColumns, apart.data() + b * kStride);
    }
    kernels.matvec_bf16(w.data(), apart.data(), kStride, y.data(), kRows, kRows, kColumns,
                        sounder::kMatvecBatch);
    CHECK(std::memcmp(y.data(), alone.data(), y.size() * sizeof(float)) == 0);
  });
}

TEST("gemm: odd sizes on both sides of every block edge, bf16 and f32") {
  for_each_level([](const Kernels &kernels) {
    for (int tokens : {1, 5, 6, 7, 12, 13, 17, 40}) {
      for (int rows : {1, 4, 15, 16, 17, 31, 33, 64, 70}) {
        for (int columns : {1, 9, 16, 100, 256, 257, 530}) {
          check_gemm<uint16_t>(kernels, tokens, rows, columns);
          check_gemm<float>(kernels, tokens, rows, columns);
        }
      }
    }
  });
}

TEST("conversions: every bf16 value comes back, f32 rounds to the nearest even, NaN stays NaN") {
  for_each_level([](const Kernels &kernels) {
    std::vector<uint16_t> all(1 << 16), back(1 << 16);
    std::vector<float> wide(1 << 16);
    for (int i = 0; i < 1 << 16; ++i) all[i] = static_cast<uint16_t>(i);
    kernels.bf16_to_f32(all.data(), wide.data(), 1 << 16);
    kernels.f32_to_bf16(wide.data(), back.data(), 1 << 16);
    int wrong = 0;
    for (int i = 0; i < 1 << 16; ++i) {
      bool nan = std::isnan(widen(all[i]));
      wrong += std::bit_cast<uint32_t>(wide[i]) != static_cast<uint32_t>(i) << 16;
      wrong += nan ? back[i] != (i | 0x40) : back[i] != i;
    }
    CHECK(wrong == 0);
    std::vector<float> floats;
    for (int i = 0; i < 100000; ++i)
      floats.push_back(std::bit_cast<float>(static_cast<uint32_t>(random_bits())));
    for (uint32_t bits :
         {0x7f800001u, 0xffffffffu, 0x7f7fffffu, 0x3f808000u, 0x3f818000u, 0x00000001u, 0x807fffffu}) {
      floats.push_back(std::bit_cast<float>(bits));
    }
    std::vector<uint16_t> narrow(floats.size());
    kernels.f32_to_bf16(floats.data(), narrow.data(), static_cast<int64_t>(floats.size()));
    for (size_t i = 0; i < floats.size(); ++i) {
      if (std::isnan(floats[i])) {
        wrong += !std::isnan(widen(narrow[i]));
      } else {
        wrong += narrow[i] != round_to_bf16(floats[i]);
      }
    }
    CHECK(wrong == 0);
  });
}

TEST("conversions: odd lengths touch nothing else") {
  for_each_level([](const Kernels &kernels) {
    for (int n : kLengths) {
      Buffer<uint16_t> narrow(n), back(n);
      Buffer<float> wide(n);
      kernels.bf16_to_f32(narrow.data(), wide.data(), n);
      kernels.f32_to_bf16(wide.data(), back.data(), n);
      CHECK(std::memcmp(narrow.data(), back.data(), n * sizeof(uint16_t)) == 0);
      CHECK(wide.guarded() && back.guarded());
    }
  });
}

TEST("rms_norm: in place and not, every length") {
  for_each_level([](const Kernels &kernels) {
    for (int n : kLengths) {
      Buffer<float> x(n), weight(n, 2), y(n, 3);
      std::vector<double> exact(n);
      reference::rms_norm(x.wide().data(), weight.wide().data(), 1e-5, n, exact.data());
      float squares = 0;
      for (int i = 0; i < n; ++i) squares += x[i] * x[i];
      float scale = 1 / std::sqrt(squares / static_cast<float>(n) + 1e-5f);
      std::vector<float> plain(n);
      for (int i = 0; i < n; ++i) plain[i] = x[i] * scale * weight[i];
      kernels.rms_norm(x.data(), weight.data(), 1e-5f, n, y.data());
      check_values("rms_norm", n, y, plain, exact);
      kernels.rms_norm(x.data(), weight.data(), 1e-5f, n, x.data());
      check_values("rms_norm in place", n, x, plain, exact);
    }
  });
}

TEST("rope: every number of pairs") {
  for_each_level([](const Kernels &kernels) {
    for (int pairs : kLengths) {
      Buffer<float> x(2 * pairs), cosine(pairs, 2), sine(pairs, 3);
      std::vector<double> exact = x.wide();
      std::vector<float> plain(2 * pairs);
      reference::rope(exact.data(), cosine.wide().data(), sine.wide().data(), pairs);
      for (int i = 0; i < pairs; ++i) {
        plain[i] = x[i] * cosine[i] - x[i + pairs] * sine[i];
        plain[i + pairs] = x[i + pairs] * cosine[i] + x[i] * sine[i];
      }
      kernels.rope(x.data(), cosine.data(), sine.data(), pairs);
      check_values("rope", 2 * pairs, x, plain, exact);
    }
  });
}

TEST("silu_multiply and add: every length") {
  for_each_level([](const Kernels &kernels) {
    for (int n : kLengths) {
      Buffer<float> gate(n), up(n, 2);
      for (int i = 0; i < n; ++i) gate[i] *= 8;
      std::vector<double> exact = gate.wide();
      reference::silu_multiply(exact.data(), up.wide().data(), n);
      std::vector<float> plain(n);
      for (int i = 0; i < n; ++i) plain[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      kernels.silu_multiply(gate.data(), up.data(), n);
      check_values("silu_multiply", n, gate, plain, exact);

      Buffer<float> x(n), y(n, 2);
      for (int i = 0; i < n; ++i) exact[i] = plain[i] = x[i] + y[i];
      kernels.add(x.data(), y.data(), n);
      check_values("add", n, x, plain, exact);
    }
  });
}

TEST("silu_multiply at the ends of the number range is 0 or the identity, never NaN") {
  for_each_level([](const Kernels &kernels) {
    std::vector<float> gate = {-1e30f, -200, -104, -88, 0, 88, 200, 1e30f, -89, 100};
    std::vector<float> up(gate.size(), 1), before = gate;
    kernels.silu_multiply(gate.data(), up.data(), static_cast<int>(gate.size()));
    for (size_t i = 0; i < gate.size(); ++i) {
      double exact = before[i] < -80 ? 0 : before[i];
      CHECK_NEAR(gate[i], exact, 1e-30 + 1e-6 * std::fabs(exact));
    }
  });
}

TEST("maximum: every length, with infinities, passing over NaN") {
  for_each_level([](const Kernels &kernels) {
    for (int n : kLengths) {
      Buffer<float> x(n);
      for (int i = 0; i < n; ++i) x[i] -= 10;  // zeros of a partial load must not win
      CHECK(kernels.maximum(x.data(), n) == static_cast<float>(reference::maximum(x.wide().data(), n)));
      for (int place : {0, n / 2, n - 1}) {
        float kept = x[place];
        x[place] = 3;
        CHECK(kernels.maximum(x.data(), n) == 3);
        x[place] = kNan;
        float most = -kInfinity;
        for (int i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
        CHECK(kernels.maximum(x.data(), n) == most);
        x[place] = kept;
      }
      x.fill(-kInfinity);
      CHECK(kernels.maximum(x.data(), n) == -kInfinity);
    }
    CHECK(kernels.maximum(nullptr, 0) == -kInfinity);
  });
}

TEST("sum_exp: every length, within a few units of the reference") {
  for_each_level([](const Kernels &kernels) {
    std::vector<int> lengths = kLengths;
    lengths.push_back(128257);
    for (int n : lengths) {
      Buffer<float> x(n);
      for (int i = 0; i < n; ++i) x[i] *= 6;
      float shift = kernels.maximum(x.data(), n);
      double exact = reference::sum_exp(x.wide().data(), n, shift);
      CHECK_NEAR(kernels.sum_exp(x.data(), n, shift), exact, 1e-6 * exact);
      x[n / 2] = -kInfinity;
      CHECK(std::isfinite(kernels.sum_exp(x.data(), n, shift)));
      x[n / 2] = kNan;
      CHECK(std::isnan(kernels.sum_exp(x.data(), n, shift)));
    }
    CHECK(kernels.sum_exp(nullptr, 0, 0) == 0);
  });
}

TEST("exp is within 2 units in the last place over its whole range, subnormal results included") {
  for_each_level([](const Kernels &kernels) {
    double worst = 0;
    for (float x = -103.9f; x < 88.7f; x += 0.00371f) {
      double exact = std::exp(static_cast<double>(x));
      double unit = std::max(std::ldexp(1.0, std::ilogb(exact) - 23), std::ldexp(1.0, -149));
      worst = std::max(worst, std::fabs(kernels.sum_exp(&x, 1, 0) - exact) / unit);
    }
    CHECK_NEAR(worst, 0, 2);
    float ends[] = {-kInfinity, -1e30f, -110, 0, 89, kInfinity};
    float results[6];
    for (int i = 0; i < 6; ++i) results[i] = static_cast<float>(kernels.sum_exp(&ends[i], 1, 0));
    CHECK(results[0] == 0 && results[1] == 0 && results[2] == 0 && results[3] == 1);
    CHECK(results[4] == kInfinity && results[5] == kInfinity);
  });
}
