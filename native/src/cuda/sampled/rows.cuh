// SPDX-License-Identifier: Apache-2.0
//
// A warp attends rows [K | V] of bf16, for all query heads of a group: a row is read once and serves them
// all. Lanes hold 8 values each, half of the lanes of a row those of K, the others those of V; rows of
// head_dim 64 take half a warp. Several rows are under way at once, as they may come from host memory.
// Results are sampled states (../../sampled/gather.h).
#pragma once

#include "../../random.h"
#include "sketch.cuh"

namespace sounder::cuda {

constexpr float kLowest = -1e30f;                    // below every logit
constexpr uint64_t kSignStream = uint64_t{1} << 40;  // as in ../../sampled/sampled_views.cpp

struct ReadRow {
  const uint16_t *at;
  float offset;  // -log2 P
};

__device__ inline uint64_t draw_seed(const SampledStep &step, int query, int kv_head) {
  const SampledQuery &own = step.query[query];
  return random_bits(own.seed, uint64_t(step.layer) << 32 | uint64_t(kv_head), uint64_t(own.position));
}
// Of the direction along which the standard error is estimated.
__device__ inline float error_sign(uint64_t seed, int i) {
  const uint64_t bits = random_bits(seed, kSignStream, static_cast<uint64_t>(i / 64));
  return bits >> (i % 64) & 1 ? 1.0f : -1.0f;
}

// D: head_dim; H: heads, 1, 2, 4 or 8, those beyond the group's being zeros; kLoads: rows that a lane has
// under way.
template <int D, int H, int kLoads>
struct Attender {
  static constexpr int kLanes = D / 8;             // of K or of V
  static constexpr int kRows = 32 / (2 * kLanes);  // rows side by side in a warp
  static constexpr int kOwners = kLanes / H;       // lanes that keep the figures of one head
  static constexpr int kBatch = kLoads * kRows;

  float weights[H][8];  // lanes of K: queries in units of log 2; of V: the signs for the first head, else 0
  float sums[H][8];     // lanes of V
  // Of head within / kOwners, in lanes of K.
  float maximum, sum, errors[3];

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ int within() { return lane() % kLanes; }
  static __device__ bool is_value() { return lane() / kLanes % 2 == 1; }
  static __device__ int first_lane() { return lane() / (2 * kLanes) * 2 * kLanes; }  // of the row

  __device__ void start(const float *q, int group, uint64_t seed) {
    const float scale = __fdiv_rn(0x1.715476p+0f, __fsqrt_rn(static_cast<float>(D)));
    maximum = kLowest;
    sum = errors[0] = errors[1] = errors[2] = 0.0f;
#pragma unroll
    for (int h = 0; h < H; ++h)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int j = within() * 8 + i;
        sums[h][i] = 0.0f;
        weights[h][i] = 0.0f;
        if (is_value() && h == 0) weights[h][i] = error_sign(seed, j);
        if (!is_value() && h < group) weights[h][i] = q[h * D + j] * scale;
      }
  }

  static __device__ void unpack(const uint4 &raw, float (&x)[8]) {
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = __uint_as_float(words[i] << 16);
      x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }

  // Lane's share of the products of all heads → its own head's, over the lanes of K or V.
  static __device__ float own_product(float (&products)[H]) {
    int bits = kLanes / 2;
#pragma unroll
    for (int half = H / 2; half > 0; half /= 2, bits /= 2)
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const bool is_upper = lane() & bits;
        const float give = is_upper ? products[i] : products[i + half];
        const float keep = is_upper ? products[i + half] : products[i];
        products[i] = keep + __shfl_xor_sync(kWarp, give, bits);
      }
    for (; bits > 0; bits /= 2) products[0] += __shfl_xor_sync(kWarp, products[0], bits);
    return products[0];
  }

  __device__ float product(const uint4 &raw) const {
    float x[8], products[H];
    unpack(raw, x);
#pragma unroll
    for (int h = 0; h < H; ++h) {
      products[h] = 0.0f;
#pragma unroll
      for (int i = 0; i < 8; ++i) products[h] += weights[h][i] * x[i];
    }
    return own_product(products);
  }

  // Logits become weights relative to a new maximum, what was summed before follows.
  __device__ void weigh(float (&logits)[kLoads], const float (&offsets)[kLoads],
                        const float (&projections)[kLoads]) {
    float highest = maximum;
#pragma unroll
    for (int n = 0; n < kLoads; ++n) highest = fmaxf(highest, logits[n]);
    const float keep = exp2f(maximum - highest);
    maximum = highest;
    sum *= keep;
    for (int i = 0; i < 3; ++i) errors[i] *= keep * keep;
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const float w = exp2f(logits[n] - highest);
      const float error = (1.0f - exp2f(-offsets[n])) * w * w;
      logits[n] = w;
      sum += w;
      errors[0] += error;
      errors[1] += error * projections[n];
      errors[2] += error * projections[n] * projections[n];
    }
#pragma unroll
    for (int h = 0; h < H; ++h) {
      const float own = __shfl_sync(kWarp, keep, first_lane() + h * kOwners);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[h][i] *= own;
    }
  }

  __device__ void add_values(const uint4 &raw, float weight) {
    float x[8];
    unpack(raw, x);
#pragma unroll
    for (int h = 0; h < H; ++h) {
      const float own = __shfl_sync(kWarp, weight, first_lane() + h * kOwners);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[h][i] += own * x[i];
    }
  }

  // Of the 32 rows that lanes hold, those from `first` on, `count` ≤ kBatch of them.
  __device__ void attend_batch(const ReadRow &held, int first, int count) {
    const int side = lane() / (2 * kLanes);
    uint4 raw[kLoads];
    float logits[kLoads], offsets[kLoads], projections[kLoads];
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int own = first + n * kRows + side;
      const auto at = __shfl_sync(kWarp, reinterpret_cast<uint64_t>(held.at), own);
      offsets[n] = __shfl_sync(kWarp, held.offset, own);
      raw[n] = make_uint4(0, 0, 0, 0);
      if (n * kRows + side < count)
        raw[n] = load_once(reinterpret_cast<const uint16_t *>(at) + lane() % (2 * kLanes) * 8);
    }
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const float own = product(raw[n]);
      projections[n] = __shfl_sync(kWarp, own, first_lane() + kLanes);
      logits[n] = n * kRows + side < count ? own + offsets[n] : -INFINITY;
    }
    weigh(logits, offsets, projections);
#pragma unroll
    for (int n = 0; n < kLoads; ++n) add_values(raw[n], logits[n]);
  }

  // Of rows 0 .. count - 1 every `warps`-th batch: all warps stay close to each other, so that the pages they
  // read are few at a time. row_at(i): row i; asked for by one lane.
  template <typename F>
  __device__ void attend(int warp, int warps, int count, F row_at) {
    constexpr int kHeld = 32 / kBatch;
    for (int batch = warp; batch * kBatch < count; batch += kHeld * warps) {
      const int own = (batch + lane() / kBatch * warps) * kBatch + lane() % kBatch;
      ReadRow held{nullptr, 0.0f};
      if (own < count) held = row_at(own);
      for (int b = 0; b < kHeld; ++b) {
        const int first = (batch + b * warps) * kBatch;
        if (first < count) attend_batch(held, b * kBatch, min(kBatch, count - first));
      }
    }
  }

  // states: [kRows][H] of this warp.
  __device__ void write(float *states) const {
    float *own = states + lane() / (2 * kLanes) * H * state_floats(D);
    if (is_value()) {
#pragma unroll
      for (int h = 0; h < H; ++h)
#pragma unroll
        for (int i = 0; i < 8; ++i) own[h * state_floats(D) + within() * 8 + i] = sums[h][i];
    } else if (within() % kOwners == 0) {
      float *figures = own + within() / kOwners * state_floats(D) + D;
      figures[0] = sum;
      figures[1] = maximum > kLowest ? maximum : -INFINITY;
      for (int i = 0; i < 3; ++i) figures[2 + i] = errors[i];
    }
  }
};

constexpr int kMostStates = 64 + kNearParts;  // that are merged at once
using MergeFactors = float[kMostGroup][kMostStates];

// result [group]: the merged states of `count` parts, stride floats apart. read(p): *p. By the whole block.
template <int D, typename F>
__device__ inline void merge_states(const float *states, int count, int64_t stride, int group,
                                    MergeFactors &factors, float *result, F read) {
  constexpr int kFloats = state_floats(D);
  const int lane = static_cast<int>(threadIdx.x) % 32, threads = static_cast<int>(blockDim.x);
  for (int h = static_cast<int>(threadIdx.x) / 32; h < group; h += threads / 32) {
    const float *maxima = states + h * kFloats + D + 1;
    float highest = kLowest;
    for (int s = lane; s < count; s += 32) highest = fmaxf(highest, read(maxima + s * stride));
    highest = greatest_of_warp(highest);
    for (int s = lane; s < count; s += 32) factors[h][s] = exp2f(read(maxima + s * stride) - highest);
    if (lane == 0) result[h * kFloats + D + 1] = highest > kLowest ? highest : -INFINITY;
  }
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < group * kFloats; n += threads) {
    const int h = n / kFloats, i = n % kFloats;
    if (i == D + 1) continue;
    float total = 0.0f;
#pragma unroll 8
    for (int s = 0; s < count; ++s) {
      const float factor = factors[h][s];
      total += read(states + s * stride + n) * (i > D ? factor * factor : factor);
    }
    result[n] = total;
  }
}

// The block's warps attend `part` of `parts` shares of rows 0 .. count - 1; `result` [group] gets the merged
// states. shared: [warps * kRows][H] states.
template <int D, int H, int kLoads, typename F>
__device__ inline void attend_block(const SampledStep &step, int query, int kv_head, int part, int parts,
                                    int count, float *shared, MergeFactors &factors, float *result,
                                    F row_at) {
  using Own = Attender<D, H, kLoads>;
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int group = step.shape.group();
  Own attender;
  attender.start(step.memory.q + (int64_t{query} * step.shape.heads + int64_t{kv_head} * group) * D, group,
                 draw_seed(step, query, kv_head));
  attender.attend(warp * parts + part, warps * parts, count, row_at);
  attender.write(shared + warp * Own::kRows * H * state_floats(D));
  __syncthreads();
  auto read = [](const float *p) { return *p; };
  merge_states<D>(shared, warps * Own::kRows, H * state_floats(D), group, factors, result, read);
}

template <int D, int H>
constexpr int shared_state_floats(int warps) {
  return warps * Attender<D, H, 1>::kRows * H * state_floats(D);
}

// Where the row of a key lies.
__device__ inline const uint16_t *row_of(const SampledStep &step, const uint16_t *rows, const int32_t *blocks,
                                         int kv_head, int key) {
  const int64_t view = static_cast<int64_t>(blocks[key / kIndexTokens]) * step.shape.kv_heads + kv_head;
  return rows + (view * kIndexTokens + key % kIndexTokens) * 2 * step.shape.head_dim;
}

}  // namespace sounder::cuda
