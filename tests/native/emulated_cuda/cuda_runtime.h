// SPDX-License-Identifier: Apache-2.0
//
// Enough of CUDA to run its kernels on the CPU, so that they are tested on machines without a GPU: each
// thread of a block is a fiber, one block runs at a time. Fibers change at barriers and wherever the lanes of
// a warp exchange values, which all 32 must do. Slow, and deaf to races between blocks.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static const
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct uint2 {
  uint32_t x, y;
};
struct uint4 {
  uint32_t x, y, z, w;
};
struct int2 {
  int x, y;
};
struct float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

constexpr size_t kStackBytes = 128 << 10;

struct Slot {
  uint64_t words[4];
};
// Where threads meet. Values lie in two sets in turn: nobody can be two meetings ahead of another.
struct Meeting {
  int expected = 0, arrived = 0;
  unsigned count = 0;
};
struct Warp {
  Meeting meeting;
  Slot slots[2][32];
};
struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  dim3 thread;
  bool is_done;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Meeting all;
  ucontext_t scheduler;
  size_t current = 0;
  bool moved = false;
  std::function<void()> body;
  std::vector<char> shared;
};
inline Block block;

inline void yield() { swapcontext(&block.fibers[block.current].context, &block.scheduler); }

inline void meet(Meeting &meeting) {
  const unsigned mine = meeting.count;
  block.moved = true;
  if (++meeting.arrived == meeting.expected) {
    meeting.arrived = 0;
    ++meeting.count;
    return;
  }
  while (meeting.count == mine) yield();
}

inline Warp &warp() { return block.warps[block.current / 32]; }
inline int lane() { return static_cast<int>(block.current % 32); }

// The values of all lanes, until the next meeting but one.
inline const Slot *exchange(const Slot &value) {
  Warp &own = warp();
  Slot *slots = own.slots[own.meeting.count % 2];
  slots[lane()] = value;
  meet(own.meeting);
  return slots;
}

inline void run_fiber() {
  block.body();
  Fiber &fiber = block.fibers[block.current];
  fiber.is_done = true;
  block.moved = true;
  --block.all.expected;
  if (block.all.expected > 0 && block.all.arrived == block.all.expected) {
    block.all.arrived = 0;
    ++block.all.count;
  }
  swapcontext(&fiber.context, &block.scheduler);
}

inline void prepare_fibers(unsigned threads) {
  if (threads % 32 != 0) std::abort();
  while (block.fibers.size() < threads) {
    block.fibers.emplace_back();
    block.fibers.back().stack = std::make_unique<char[]>(kStackBytes);
  }
  block.warps.resize(threads / 32);
  for (Warp &w : block.warps) w.meeting = {32, 0, 0};
  block.all = {static_cast<int>(threads), 0, 0};
  for (unsigned i = 0; i < threads; ++i) {
    Fiber &fiber = block.fibers[i];
    fiber.is_done = false;
    fiber.thread = {i, 0, 0};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
  }
}

inline void run_block(unsigned threads) {
  prepare_fibers(threads);
  for (unsigned running = threads; running > 0;) {
    block.moved = false;
    for (unsigned turn = 0; turn < threads; ++turn) {
      // Another order in every second block, so that a barrier that is missing shows.
      const unsigned i = blockIdx.x % 2 == 0 ? turn : threads - 1 - turn;
      if (block.fibers[i].is_done) continue;
      block.current = i;
      threadIdx = block.fibers[i].thread;
      swapcontext(&block.scheduler, &block.fibers[i].context);
      running -= block.fibers[i].is_done ? 1 : 0;
    }
    if (!block.moved) {
      std::fprintf(stderr, "the threads of a block wait for each other\n");
      std::abort();
    }
  }
}

inline void run_grid(dim3 grid, unsigned threads, size_t shared_bytes, std::function<void()> body) {
  block.body = std::move(body);
  // Whatever the block before left: shared memory is not zeros.
  block.shared.assign(shared_bytes + 128, '\x7b');
  gridDim = grid;
  blockDim = {threads, 1, 1};
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block(threads);
      }
}

template <typename T>
Slot slot_of(T value) {
  static_assert(sizeof(T) <= sizeof(Slot));
  Slot slot{};
  std::memcpy(&slot, &value, sizeof value);
  return slot;
}
template <typename T>
T value_of(const Slot &slot) {
  T value;
  std::memcpy(&value, &slot, sizeof value);
  return value;
}

}  // namespace emulated

inline void __syncthreads() { emulated::meet(emulated::block.all); }
inline void __syncwarp() { emulated::exchange({}); }
inline void __threadfence() {}

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return emulated::value_of<T>(emulated::exchange(emulated::slot_of(value))[source & 31]);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return __shfl_sync(mask, value, emulated::lane() ^ bits);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int distance) {
  const int own = emulated::lane();
  return __shfl_sync(mask, value, own >= distance ? own - distance : own);
}
inline unsigned __ballot_sync(unsigned, bool value) {
  const emulated::Slot *slots = emulated::exchange(emulated::slot_of(value));
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<unsigned>(emulated::value_of<bool>(slots[i])) << i;
  return bits;
}

template <typename T, typename U>
T atomicAdd(T *at, U value) {
  const T before = *at;
  *at = static_cast<T>(before + static_cast<T>(value));
  return before;
}
inline int atomicMax(int *at, int value) {
  const int before = *at;
  *at = value > before ? value : before;
  return before;
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __float2int_rn(float x) { return static_cast<int>(std::lrint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline uint32_t __float_as_uint(float x) { return emulated::value_of<uint32_t>(emulated::slot_of(x)); }
inline float __uint_as_float(uint32_t x) { return emulated::value_of<float>(emulated::slot_of(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned select) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (select >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  return result;
}
template <typename T>
T __ldg(const T *p) {
  return *p;
}
template <typename T>
T __ldcg(const T *p) {
  return *p;
}
using std::max;
using std::min;
