// SPDX-License-Identifier: Apache-2.0
//
// The row kernels but the products, at every instruction level that this machine runs, against the
// double-precision reference: every odd length, misaligned pointers, buffers that end in NaN and are checked
// for stray writes. An error may be twice that of the plain float32 loop, plus a few units in the last place.
#include <string>

#include "kernel_checks.h"

using namespace kernel_checks;

namespace {

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
