// SPDX-License-Identifier: Apache-2.0
//
// In place of native/src/cuda/gpu/instructions.cuh where kernels run on the CPU.
#pragma once

#include <tuple>

#include "cuda/launcher.h"
#include "cuda_runtime.h"
#include "streams.h"

namespace sounder::cuda {

template <typename... P, typename... A>
void launch(const Launcher &launcher, void (*kernel)(P...), dim3 grid, int threads, size_t shared_bytes,
            A... args) {
  auto grid_of_blocks = [=, values = std::tuple<P...>(static_cast<P>(args)...)] {
    emulated::run_grid(grid, static_cast<unsigned>(threads), shared_bytes,
                       [&] { std::apply(kernel, values); });
  };
  check(emulated::launch_work(launcher.stream, grid, threads, shared_bytes, grid_of_blocks),
        "launch a kernel");
}

inline void wait_for_previous() {}
inline void let_next_start() {}

template <typename T>
T *dynamic_shared() {
  char *start = emulated::shared_memory();
  return reinterpret_cast<T *>(start + (128 - reinterpret_cast<uintptr_t>(start) % 128) % 128);
}

inline uint4 load_once(const void *p) {
  uint4 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

// The fragments' layout is PTX's m16n8k32 for 8-bit types.
inline void mma_u8_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const int (&c)[4]) {
  struct Registers {
    uint32_t a[4], b[2];
  } own{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const emulated::Slot *slots = emulated::exchange(own);
  const int group = emulated::lane() / 4, quad = emulated::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = group + i / 2 * 8, column = 2 * quad + i % 2;
    int sum = c[i];
    for (int k = 0; k < 32; ++k) {
      const int from = k % 16 / 4;
      const auto x = emulated::value_of<Registers>(slots[row % 8 * 4 + from]);
      const auto y = emulated::value_of<Registers>(slots[column * 4 + from]);
      const int shift = k % 4 * 8;
      sum += static_cast<int>(x.a[k / 16 * 2 + row / 8] >> shift & 0xff) *
             static_cast<int8_t>(y.b[k / 16] >> shift & 0xff);
    }
    d[i] = sum;
  }
}

// Maxima of the two int16 of a word.
inline uint32_t max_shorts(uint32_t a, uint32_t b) {
  auto half = [](uint32_t x, int i) { return static_cast<int16_t>(x >> 16 * i); };
  const uint32_t low = static_cast<uint16_t>(max(half(a, 0), half(b, 0)));
  return low | static_cast<uint32_t>(static_cast<uint16_t>(max(half(a, 1), half(b, 1)))) << 16;
}

}  // namespace sounder::cuda
