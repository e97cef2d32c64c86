// SPDX-License-Identifier: Apache-2.0
//
// MagicPIG's strategy without its tables: every key's signature is held against the query's, and the key is
// read where they share a whole code in enough tables (../../sampled/lsh_strategy.cpp, which finds the same
// keys). A word of a plane has one bit of the codes in 32 tables, so that 32 tables are compared at once.
#include <mma.cuh>

#include "../../sampled/lsh_kernels.h"
#include "chosen.cuh"
#include "sounder.h"
#include "strategies.h"

namespace sounder::cuda {

namespace {

// ---- the queries' signatures -----------------------------------------------------------------------------

constexpr int kCodeThreads = 128, kCodeWarps = kCodeThreads / 32;

struct CodeShared {
  float q[kMostSlice][256];
};

// A warp makes the words of a plane, a lane the sums of a table's projection, in the order of the CPU's.
__device__ inline void write_codes(const SampledStep &step, int64_t view, int plane, const float *q, int d) {
  const int lane = static_cast<int>(threadIdx.x) % 32, group = step.shape.group();
  const float *projection = step.projections + int64_t{plane} * d * 32 + lane;
  float sums[kMostSlice] = {};
#pragma unroll 16
  for (int k = 0; k < d; ++k) {
    const float w = projection[k * 32];
#pragma unroll
    for (int h = 0; h < kMostSlice; ++h)
      if (h < group) sums[h] = __fmaf_rn(q[h * 256 + k], w, sums[h]);
  }
  uint32_t *to = step.memory.codes + (view * step.shape.signature.planes() + plane) * group;
#pragma unroll
  for (int h = 0; h < kMostSlice; ++h) {
    if (h >= group) continue;
    const uint32_t word = __ballot_sync(kWarp, sums[h] > 0.0f);
    if (lane == h) to[h] = word;
  }
}

__device__ inline double sum_of_warp(double x) {
  for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(kWarp, x, bits);
  return x;
}

// What an inverse norm is multiplied by, sqrt(d) log 2 / |q|, and q·μ in the unit of logits; by a warp.
__device__ inline void write_figures(const SampledStep &step, const SampledQuery &query, int64_t view,
                                     int kv_head, int head, const float *q, int d) {
  constexpr double kLog2 = 0.69314718055994530942;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const LshSignature &signature = step.shape.signature;
  const char *place =
      step.signatures + (int64_t{query.signatures[0]} * step.shape.kv_heads + kv_head) * signature.bytes();
  const auto *mean = reinterpret_cast<const float *>(place + signature.mean_place());
  double product = 0, square = 0;
  for (int k = lane; k < d; k += 32) {
    product += static_cast<double>(q[k]) * mean[k];
    square += static_cast<double>(q[k]) * q[k];
  }
  product = sum_of_warp(product);
  const double norm = sqrt(sum_of_warp(square)), root = sqrt(static_cast<double>(d));
  if (lane != 0) return;
  float *figures = step.memory.figures + (view * step.shape.group() + head) * 4;
  // A query of zero has the code of zero: it meets keys as one at a right angle would.
  figures[0] = norm < kLshLeastNorm ? 0.0f : static_cast<float>(root * kLog2 / norm);
  figures[1] = static_cast<float>(product / kLog2 / root);
}

__global__ void __launch_bounds__(kCodeThreads) code_kernel(SampledStep step) {
  __shared__ CodeShared shared;
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int d = step.shape.head_dim, group = step.shape.group(), warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t view = view_index(step, query, kv_head);
  const float *q = step.memory.q + (int64_t{query} * step.shape.heads + int64_t{kv_head} * group) * d;
  for (int i = static_cast<int>(threadIdx.x); i < group * d; i += kCodeThreads) shared.q[i / d][i % d] = q[i];
  __syncthreads();
  const int plane = static_cast<int>(blockIdx.x) * kCodeWarps + warp;
  if (plane < step.shape.signature.planes()) write_codes(step, view, plane, &shared.q[0][0], d);
  if (blockIdx.x > 0) return;
  for (int h = warp; h < group; h += kCodeWarps)
    write_figures(step, step.query[query], view, kv_head, h, shared.q[h], d);
}

// ---- keys against queries --------------------------------------------------------------------------------

constexpr int kKeys = 4;        // of a thread: 16 bytes of a plane
constexpr unsigned kAhead = 8;  // planes of a thread's ring in shared memory: all but one are under way
constexpr int kRounds = 2;      // in which a block's threads look at a chunk
static_assert(kKeys * kChunkThreads * kRounds == kChunkKeys && kKeys * 32 == kIndexTokens);

// Planes whose codes there is room for: compilers may read several at once, beyond the last one too.
__host__ __device__ constexpr int planes_ahead(int planes) { return (planes + 7) / 8 * 8; }

// Words of a plane of this thread's keys: bits of tables in which all planes agreed so far, by head.
template <int H>
struct Agreeing {
  uint32_t bits[H][kKeys];
  int tables[H][kKeys];  // that agree on a code

  __device__ void start(uint32_t valid) {
#pragma unroll
    for (int h = 0; h < H; ++h)
#pragma unroll
      for (int i = 0; i < kKeys; ++i) bits[h][i] = valid;
  }
  // codes: [H] of the queries.
  __device__ void hold(const uint4 &plane, const uint32_t *codes) {
    const uint32_t words[kKeys] = {plane.x, plane.y, plane.z, plane.w};
#pragma unroll
    for (int h = 0; h < H; ++h)
#pragma unroll
      for (int i = 0; i < kKeys; ++i) bits[h][i] &= ~(words[i] ^ codes[h]);
  }
  __device__ void count() {
#pragma unroll
    for (int h = 0; h < H; ++h)
#pragma unroll
      for (int i = 0; i < kKeys; ++i) tables[h][i] += __popc(bits[h][i]);
  }
};

// Tables of a word.
__device__ inline uint32_t valid_tables(const LshSignature &signature, int word) {
  const int left = signature.tables - 32 * word;
  return left >= 32 ? ~0u : (1u << left) - 1;
}

// A thread's keys of a plane follow each other; it waits for what it copied itself, for no other thread.
using Ring = uint4[kAhead][kChunkThreads];

// How many tables agree on the keys whose planes begin here. codes: [planes][H].
template <int H>
__device__ inline void compare(const LshSignature &signature, const char *planes, const uint32_t *codes,
                               Ring &ring, Agreeing<H> &found) {
  const auto count = static_cast<unsigned>(signature.planes());
  auto fetch = [&](unsigned plane) {
    if (plane < count)
      copy_once(&ring[plane % kAhead][threadIdx.x], planes + int64_t{plane} * 4 * kIndexTokens);
    commit_copies();
  };
#pragma unroll
  for (unsigned plane = 0; plane < kAhead - 1; ++plane) fetch(plane);
#pragma unroll
  for (int h = 0; h < H; ++h)
#pragma unroll
    for (int i = 0; i < kKeys; ++i) found.tables[h][i] = 0;
  unsigned plane = 0;
  for (int word = 0; word < signature.words(); ++word) {
    found.start(valid_tables(signature, word));
    for (int bit = 0; bit < signature.bits; ++bit, ++plane) {
      wait_copies<kAhead - 2>();
      const uint4 own = ring[plane % kAhead][threadIdx.x];
      fetch(plane + kAhead - 1);
      found.hold(own, codes + plane * H);
    }
    found.count();
  }
}

struct CollideShared {
  Ring ring;
  uint32_t heads[kChunkKeys / kKeys];  // a byte a key: which heads read it
  WarpCounts warp_counts;
};

__device__ inline const char *place_of(const SampledStep &step, const SampledQuery &query, int kv_head,
                                       int key) {
  const int64_t place = query.signatures[key / kIndexTokens];
  return step.signatures + (place * step.shape.kv_heads + kv_head) * step.shape.signature.bytes();
}

// Byte i: which heads read key `key` + i.
template <int H>
__device__ inline uint32_t heads_of_keys(const SampledStep &step, const SampledQuery &query, int kv_head,
                                         int key, const uint32_t *codes, Ring &ring) {
  Agreeing<H> found;
  const char *planes = place_of(step, query, kv_head, key) + 4 * (key % kIndexTokens);
  compare<H>(step.shape.signature, planes, codes, ring, found);
  uint32_t heads = 0;
#pragma unroll
  for (int i = 0; i < kKeys; ++i)
#pragma unroll
    for (int h = 0; h < H; ++h)
      if (key + i >= query.begin && found.tables[h][i] >= query.collisions) heads |= 1u << (8 * i + h);
  return heads;
}

// The thread's 8 keys, of which these heads read some: their words become inverse norms. → bit 8 h + i: head
// h reads key i.
__device__ inline uint64_t weigh_keys(const SampledStep &step, const SampledQuery &query, int64_t view,
                                      int kv_head, int chunk, const uint32_t *heads) {
  const int group = step.shape.group(), first = 8 * static_cast<int>(threadIdx.x);
  if ((heads[0] | heads[1]) == 0) return 0;
  const int key = chunk * kChunkKeys + first;
  const auto *norms = reinterpret_cast<const uint16_t *>(place_of(step, query, kv_head, key) +
                                                         step.shape.signature.norms_place());
  uint64_t chosen = 0;
  for (int i = 0; i < 8; ++i) {
    const uint32_t own = heads[i / kKeys] >> i % kKeys * 8 & 0xffu;
    if (own == 0) continue;
    const float norm = of_bf16(norms[key % kIndexTokens + i]);
    for (int h = 0; h < group; ++h) {
      const float unit = step.memory.figures[(view * group + h) * 4];
      const bool reads = own >> h & 1u;
      words_of(step, view, chunk, h)[first + i] = __float_as_uint(reads ? __fmul_rn(unit, norm) : -INFINITY);
      chosen |= uint64_t{reads} << (8 * h + i);
    }
  }
  return chosen;
}

template <int H>
__global__ void __launch_bounds__(kChunkThreads, H <= 4 ? 4 : 2) collide_kernel(SampledStep step) {
  __shared__ CollideShared shared;
  uint32_t *codes = dynamic_shared<uint32_t>();
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int thread = static_cast<int>(threadIdx.x), group = step.shape.group();
  const int64_t view = view_index(step, query, kv_head);
  const int planes = step.shape.signature.planes();
  for (int i = thread; i < planes_ahead(planes) * H; i += kChunkThreads) {
    const bool has = i < planes * H && i % H < group;
    codes[i] = has ? step.memory.codes[(view * planes + i / H) * group + i % H] : 0;
  }
  __syncthreads();
  const SampledQuery &own = step.query[query];
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x)) {
    for (int round = 0; round < kRounds; ++round) {
      const int at = round * kChunkThreads + thread, key = chunk * kChunkKeys + at * kKeys;
      shared.heads[at] = key < own.end ? heads_of_keys<H>(step, own, kv_head, key, codes, shared.ring) : 0;
    }
    __syncthreads();
    const uint64_t chosen = weigh_keys(step, own, view, kv_head, chunk, shared.heads + 2 * thread);
    list_by_heads(step, view, chunk, chosen, shared.warp_counts);
  }
}

template <int H>
void launch_collide(const Launcher &launcher, const SampledStep &step) {
  const size_t codes =
      sizeof(uint32_t) * static_cast<size_t>(planes_ahead(step.shape.signature.planes())) * H;
  launch(launcher, collide_kernel<H>, chunk_grid(launcher, step, kChunkKeys, 8), kChunkThreads, codes, step);
}

// Rows are listed where signatures are read.
void look(const Launcher &launcher, const SampledStep &step) {
  check_shape(has_word_kernels(step.shape) && step.shape.signature.bits > 0 && step.memory.words != nullptr);
  launch_near(launcher, step);
  const int planes = step.shape.signature.planes(), group = step.shape.group();
  const dim3 grid{static_cast<unsigned>((planes + kCodeWarps - 1) / kCodeWarps),
                  static_cast<unsigned>(step.served.count()), static_cast<unsigned>(step.queries)};
  launch(launcher, code_kernel, grid, kCodeThreads, 0, step);
  if (group == 1) return launch_collide<1>(launcher, step);
  if (group == 2) return launch_collide<2>(launcher, step);
  if (group <= 4) return launch_collide<4>(launcher, step);
  launch_collide<8>(launcher, step);
}

void choose(const Launcher &, const SampledStep &) {}

}  // namespace

const DeviceStrategy &lsh_strategy() {
  static constexpr DeviceStrategy kStrategy{
      SOUNDER_ATTENTION_LSH, false, false, true, true, true, look, choose};
  return kStrategy;
}

}  // namespace sounder::cuda
