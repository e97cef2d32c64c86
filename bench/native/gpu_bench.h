// SPDX-License-Identifier: Apache-2.0
//
// What the GPU's bench shares: the shape of Llama-3.1-8B, the roofs, and how a line is printed.
#pragma once

#include <cstdio>

namespace bench {

struct Roofs {
  double bytes;  // a second, read and written by a copy
  double flops;  // a second, of a square product in bf16
};

constexpr int kLayers = 32, kHidden = 4096, kIntermediate = 14336, kHeads = 32, kKvHeads = 8, kHeadDim = 128,
              kVocabulary = 128256;

inline void print(const char *what, double ms, double bytes, double flops, const Roofs &roofs) {
  std::printf("%-46s %9.3f ms", what, ms);
  if (bytes > 0) std::printf(" %7.0f GB/s %4.0f %%", bytes / ms / 1e6, 100 * bytes / ms * 1e3 / roofs.bytes);
  if (flops > 0) std::printf(" %7.0f TF/s %4.0f %%", flops / ms / 1e9, 100 * flops / ms * 1e3 / roofs.flops);
  std::printf("\n");
  std::fflush(stdout);
}

// Measures the roofs, then each kernel alone beside them. all: the kernels too.
Roofs bench_kernels(bool all);

}  // namespace bench
