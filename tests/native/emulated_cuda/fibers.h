// SPDX-License-Identifier: Apache-2.0
//
// Blocks of threads on the CPU: each thread of a block is a fiber, one block runs at a time. Fibers change at
// barriers and wherever the lanes of a warp exchange values, which all 32 must do. Slow, and deaf to races
// between blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

// What a lane brings to an exchange.
struct Slot {
  uint64_t words[4];
};

// Runs a kernel: body once a thread. From one thread at a time.
void run_grid(dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()> &body);

// The barrier of a block.
void meet_block();
// The lane of the thread that runs.
int lane();
// Where the lanes of a warp put what they exchange, until they meet.
Slot *slots_of_warp();
// All lanes of the warp meet; the last one to come makes results of their values, in place.
void meet_warp(void (*combine)(Slot *values) = nullptr);
// How many blocks ran before this one.
uint64_t block_number();
// Dynamic shared memory, not aligned.
char *shared_memory();

template <typename T>
T value_of(const Slot &slot) {
  T value;
  std::memcpy(&value, &slot, sizeof value);
  return value;
}

// The values of all lanes, or what is made of them, until the next exchange but one.
template <typename T>
const Slot *exchange(const T &value, void (*combine)(Slot *values) = nullptr) {
  static_assert(sizeof(T) <= sizeof(Slot));
  Slot *slots = slots_of_warp();
  std::memcpy(&slots[lane()], &value, sizeof value);
  meet_warp(combine);
  return slots;
}

// The bits of a value as one of another type.
template <typename To, typename From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace emulated
