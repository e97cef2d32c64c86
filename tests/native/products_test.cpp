// SPDX-License-Identifier: Apache-2.0
//
// The product kernels of every instruction level that this machine runs, against the double-precision
// reference: odd sizes, misaligned pointers, buffers that end in NaN and are checked for stray writes.
#include "kernel_checks.h"

using namespace kernel_checks;

namespace {

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

}  // namespace

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
