// SPDX-License-Identifier: Apache-2.0
#include "mma.cuh"

#include <array>
#include <deque>
#include <vector>

namespace sounder::cuda {

namespace {

using emulated::Slot;

struct Operands {
  uint32_t a[4], b[2];
};

float half_of(uint32_t word, int half) {
  return __bfloat162float({static_cast<uint16_t>(word >> 16 * half)});
}

// The fragments' layout is PTX's m16n8k16: each lane's operands become its four sums.
void multiply_fragments(Slot *slots) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto own = emulated::value_of<Operands>(slots[lane]);
    for (int half = 0; half < 2; ++half) {
      const int k = lane % 4 * 2 + half;
      for (int i = 0; i < 4; ++i) a[lane / 4 + i % 2 * 8][k + i / 2 * 8] = half_of(own.a[i], half);
      for (int i = 0; i < 2; ++i) b[k + i * 8][lane / 4] = half_of(own.b[i], half);
    }
  }
  float sums[16][8] = {};
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) sums[m][n] += a[m][k] * b[k][n];
  for (int lane = 0; lane < 32; ++lane) {
    float own[4];
    for (int i = 0; i < 4; ++i) own[i] = sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    std::memcpy(&slots[lane], &own, sizeof own);
  }
}

struct Copy {
  void *to;
  const void *from;
  bool there;
};
// Of a thread. What an earlier block left is nobody's.
struct Copies {
  uint64_t block = 0;
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

Copies &own_copies() {
  static std::array<Copies, 1024> of_threads;
  Copies &own = of_threads[threadIdx.x];
  if (own.block != emulated::block_number()) own = {emulated::block_number(), {}, {}};
  return own;
}

}  // namespace

void copy_async(void *to, const void *from, bool there) { own_copies().open.push_back({to, from, there}); }

void commit_copies() {
  Copies &own = own_copies();
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}

void wait_copies_until(int pending) {
  Copies &own = own_copies();
  for (; own.groups.size() > size_t(pending); own.groups.pop_front())
    for (const Copy &copy : own.groups.front()) {
      std::memset(copy.to, 0, 16);
      if (copy.there) std::memcpy(copy.to, copy.from, 16);
    }
}

void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const Operands own{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const Slot &made = emulated::exchange(own, multiply_fragments)[emulated::lane()];
  float products[4];
  std::memcpy(products, &made, sizeof products);
  for (int i = 0; i < 4; ++i) sums[i] += products[i];
}

}  // namespace sounder::cuda
