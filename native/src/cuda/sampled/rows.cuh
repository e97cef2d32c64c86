// SPDX-License-Identifier: Apache-2.0
//
// A warp attends rows [K | V] of bf16, for all query heads of a slice: a row is read once and serves them
// all. Lanes hold 8 values each, or twice 8, half of the lanes of a row those of K, the others those of V;
// rows of head_dim 64 take half a warp, and of head dims in between some lanes have nothing. Several rows are
// under way at once, as they may come from host memory.
// Results are sampled states (../../sampled/gather.h).
#pragma once

#include "../../random.h"
#include "../../sampled/gather.h"
#include "sketch.cuh"

namespace sounder::cuda {

constexpr float kLowest = -1e30f;                    // below every logit
constexpr uint64_t kSignStream = uint64_t{1} << 40;  // as in ../../sampled/sampled_views.cpp

struct ReadRow {
  const uint16_t *at;
  float offset;  // -log2 P; by head: the bits of the word that has the first head's
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

// Dim: Own or UpTo; H: heads, 1, 2, 4 or 8, those beyond the slice's being zeros; kLoads: rows that a lane
// has under way; kByHead: each head weighs a row by a word of its own.
template <typename Dim, int H, int kLoads, bool kByHead = false>
struct Attender {
  static constexpr int kLanes = Dim::kMost <= 64 ? 8 : 16;    // of K or of V
  static constexpr int kVectors = Dim::kMost / (8 * kLanes);  // that a lane reads of a row
  static constexpr int kRows = 32 / (2 * kLanes);             // rows side by side in a warp
  static constexpr int kOwners = kLanes / H;                  // lanes that keep the figures of one head
  static constexpr int kBatch = kLoads * kRows;
  using Raw = uint4[kVectors];

  float weights[H][8 * kVectors];  // lanes of K: queries in units of log 2; of V: the signs for the first
                                   // head, else 0
  float sums[H][8 * kVectors];     // lanes of V
  // Of head within / kOwners, in lanes of K.
  float maximum, sum, errors[3];
  const uint32_t *words;  // of this lane's head, by head; nullptr: it has none
  // Where P follows from the score: the table of it, otherwise nullptr; and q·μ of this lane's head.
  const float *collisions;
  float mean;
  bool has_draws;  // with replacement, of which one weighs 2^one_draw
  float one_draw;
  int head_dim;

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ int within() { return lane() % kLanes; }
  static __device__ bool is_value() { return lane() / kLanes % 2 == 1; }
  static __device__ int first_lane() { return lane() / (2 * kLanes) * 2 * kLanes; }  // of the row
  __device__ int dim() const { return Dim::of(head_dim); }
  // The first dimension of a vector.
  static __device__ int first_of(int vector) { return (vector * kLanes + within()) * 8; }
  // Where a vector lies in a row.
  __device__ int place_of(int vector) const {
    if (Dim::kIsOwn) return lane() % (2 * kLanes) * 8;
    return (is_value() ? dim() : 0) + first_of(vector);
  }
  __device__ bool has(int vector) const { return Dim::kIsOwn || first_of(vector) < dim(); }

  __device__ void start(const float *q, int heads, int dims, uint64_t seed) {
    head_dim = dims;
    const float scale = __fdiv_rn(0x1.715476p+0f, __fsqrt_rn(static_cast<float>(dim())));
    maximum = kLowest;
    sum = errors[0] = errors[1] = errors[2] = 0.0f;
#pragma unroll
    for (int h = 0; h < H; ++h)
#pragma unroll
      for (int i = 0; i < 8 * kVectors; ++i) {
        const int j = first_of(i / 8) + i % 8;
        sums[h][i] = 0.0f;
        weights[h][i] = 0.0f;
        if (!has(i / 8)) continue;
        if (is_value() && h == 0) weights[h][i] = error_sign(seed, j);
        if (!is_value() && h < heads) weights[h][i] = q[h * dim() + j] * scale;
      }
  }

  static __device__ void unpack(const Raw &raw, float (&x)[8 * kVectors]) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const uint32_t words[4] = {raw[v].x, raw[v].y, raw[v].z, raw[v].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[8 * v + 2 * i] = __uint_as_float(words[i] << 16);
        x[8 * v + 2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
      }
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

  __device__ float product(const Raw &raw) const {
    float x[8 * kVectors], products[H];
    unpack(raw, x);
#pragma unroll
    for (int h = 0; h < H; ++h) {
      products[h] = 0.0f;
#pragma unroll
      for (int i = 0; i < 8 * kVectors; ++i) products[h] += weights[h][i] * x[i];
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
      const float chance = kByHead ? fminf(-offsets[n], 0.0f) : -offsets[n];  // log2 of it
      float uncertain = 1.0f - exp2f(chance);
      if (kByHead && has_draws) uncertain = exp2f(fminf(one_draw - logits[n], 0.0f));  // 1 / count
      const float error = uncertain * w * w;
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
      for (int i = 0; i < 8 * kVectors; ++i) sums[h][i] *= own;
    }
  }

  __device__ void add_values(const Raw &raw, float weight) {
    float x[8 * kVectors];
    unpack(raw, x);
#pragma unroll
    for (int h = 0; h < H; ++h) {
      const float own = __shfl_sync(kWarp, weight, first_lane() + h * kOwners);
#pragma unroll
      for (int i = 0; i < 8 * kVectors; ++i) sums[h][i] += own * x[i];
    }
  }

  __device__ float offset_of_head(float word) const {
    return words == nullptr ? 0.0f : __uint_as_float(words[__float_as_uint(word)]);
  }

  // -log2 P of a row whose inverse norm in units of the query's this is: look_up of ../../sampled/gather.inc.
  // A head that did not choose the row has an infinite one.
  __device__ float offset_of_score(float score, float factor) const {
    if (!(fabsf(factor) < INFINITY)) return -INFINITY;
    constexpr float kHalf = kCollisionPoints / 2;
    const float at = __fmaf_rn(__fmul_rn(__fsub_rn(score, mean), factor), kHalf, kHalf);
    const float place = fminf(fmaxf(at, 0.0f), static_cast<float>(kCollisionPoints));
    const int point = min(static_cast<int>(place), kCollisionPoints - 1);
    const float low = collisions[point];
    return low + (place - static_cast<float>(point)) * (collisions[point + 1] - low);
  }

  // Of the 32 rows that lanes hold, those from `first` on, `count` ≤ kBatch of them.
  __device__ void attend_batch(const ReadRow &held, int first, int count) {
    const int side = lane() / (2 * kLanes);
    Raw raw[kLoads];
    float logits[kLoads], offsets[kLoads], projections[kLoads];
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int own = first + n * kRows + side;
      const auto at = __shfl_sync(kWarp, reinterpret_cast<uint64_t>(held.at), own);
      offsets[n] = __shfl_sync(kWarp, held.offset, own);
      if (kByHead) offsets[n] = n * kRows + side < count ? offset_of_head(offsets[n]) : 0.0f;
      const auto *row = reinterpret_cast<const uint16_t *>(at);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        raw[n][v] = make_uint4(0, 0, 0, 0);
        if (n * kRows + side < count && has(v)) raw[n][v] = load_once(row + place_of(v));
      }
    }
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const float own = product(raw[n]);
      projections[n] = __shfl_sync(kWarp, own, first_lane() + kLanes);
      if (kByHead && collisions != nullptr) offsets[n] = offset_of_score(own, offsets[n]);
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
    const int floats = state_floats(dim());
    float *own = states + lane() / (2 * kLanes) * H * floats;
    if (is_value()) {
#pragma unroll
      for (int h = 0; h < H; ++h)
#pragma unroll
        for (int i = 0; i < 8 * kVectors; ++i)
          if (has(i / 8)) own[h * floats + first_of(i / 8) + i % 8] = sums[h][i];
    } else if (within() % kOwners == 0) {
      float *figures = own + within() / kOwners * floats + dim();
      figures[0] = sum;
      figures[1] = maximum > kLowest ? maximum : -INFINITY;
      for (int i = 0; i < 3; ++i) figures[2 + i] = errors[i];
    }
  }
};

constexpr int kMostStates = 64 + kNearParts;  // that are merged at once
using MergeFactors = float[kMostSlice][kMostStates];

// result [heads]: the merged states of `count` parts, stride floats apart. read(p): *p. By the whole block.
template <typename Dim, typename F>
__device__ inline void merge_states(const float *states, int count, int64_t stride, int heads, int head_dim,
                                    MergeFactors &factors, float *result, F read) {
  const int d = Dim::of(head_dim), floats = state_floats(d);
  const int lane = static_cast<int>(threadIdx.x) % 32, threads = static_cast<int>(blockDim.x);
  for (int h = static_cast<int>(threadIdx.x) / 32; h < heads; h += threads / 32) {
    const float *maxima = states + h * floats + d + 1;
    float highest = kLowest;
    for (int s = lane; s < count; s += 32) highest = fmaxf(highest, read(maxima + s * stride));
    highest = greatest_of_warp(highest);
    for (int s = lane; s < count; s += 32) factors[h][s] = exp2f(read(maxima + s * stride) - highest);
    if (lane == 0) result[h * floats + d + 1] = highest > kLowest ? highest : -INFINITY;
  }
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < heads * floats; n += threads) {
    const int h = n / floats, i = n % floats;
    if (i == d + 1) continue;
    float total = 0.0f;
#pragma unroll 8
    for (int s = 0; s < count; ++s) {
      const float factor = factors[h][s];
      total += read(states + s * stride + n) * (i > d ? factor * factor : factor);
    }
    result[n] = total;
  }
}

// What a lane of the head `own` of the slice takes its offsets from.
template <typename A>
__device__ inline void weigh_by_head(const SampledStep &step, int query, const HeadSlice &slice, int own,
                                     A &attender) {
  const int64_t view = view_index(step, query, slice.kv_head);
  attender.words = own < slice.count ? words_of(step, view, 0, slice.first + own) : nullptr;
  attender.collisions = nullptr;
  attender.has_draws = step.strategy.has_draws && own < slice.count;
  if (own >= slice.count) return;
  const float figure = step.memory.figures[(view * step.shape.group() + slice.first + own) * 4 + 1];
  if (step.strategy.has_draws) attender.one_draw = figure;
  if (!step.strategy.by_collision) return;
  attender.collisions = step.collisions + (step.query[query].collisions - 1) * (kCollisionPoints + 1);
  attender.mean = figure;
}

// The block's warps attend `part` of `parts` shares of rows 0 .. count - 1; `result` [slice.count] gets the
// merged states. shared: [warps * kRows][H] states.
template <typename Dim, int H, int kLoads, bool kByHead = false, typename F>
__device__ inline void attend_block(const SampledStep &step, int query, const HeadSlice &slice, int part,
                                    int parts, int count, float *shared, MergeFactors &factors, float *result,
                                    F row_at) {
  using Own = Attender<Dim, H, kLoads, kByHead>;
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  const SketchShape &s = step.shape;
  const int d = Dim::of(s.head_dim);
  const int64_t head = int64_t{query} * s.heads + int64_t{slice.kv_head} * s.group() + slice.first;
  Own attender;
  attender.start(step.memory.q + head * d, slice.count, s.head_dim, draw_seed(step, query, slice.kv_head));
  const int own = Own::within() / Own::kOwners;  // the lane's head
  if (kByHead) weigh_by_head(step, query, slice, own, attender);
  attender.attend(warp * parts + part, warps * parts, count, row_at);
  attender.write(shared + warp * Own::kRows * H * state_floats(d));
  __syncthreads();
  auto read = [](const float *p) { return *p; };
  merge_states<Dim>(shared, warps * Own::kRows, H * state_floats(d), slice.count, s.head_dim, factors, result,
                    read);
}

template <typename Dim, int H>
constexpr int shared_state_floats(int warps) {
  return warps * Attender<Dim, H, 1>::kRows * H * state_floats(Dim::kMost);
}

// Where the row of a key lies.
template <typename Dim>
__device__ inline const uint16_t *row_of(const SampledStep &step, const uint16_t *rows, const int32_t *blocks,
                                         int kv_head, int key) {
  const int64_t view = static_cast<int64_t>(blocks[key / kIndexTokens]) * step.shape.kv_heads + kv_head;
  return rows + (view * kIndexTokens + key % kIndexTokens) * 2 * Dim::of(step.shape.head_dim);
}

// Sink and tail.
template <typename Dim, int H>
__device__ inline void attend_near(const SampledStep &step, int query, const HeadSlice &slice, int part,
                                   float *shared, MergeFactors &factors) {
  const SampledQuery &own = step.query[query];
  const int begin = own.begin, skipped = own.end - own.begin, d = Dim::of(step.shape.head_dim);
  auto row_at = [&](int i) {
    const int key = i < begin ? i : i + skipped;
    return ReadRow{row_of<Dim>(step, step.near_rows, own.near_blocks, slice.kv_head, key), 0.0f};
  };
  const int64_t place = view_index(step, query, slice.kv_head) * kNearParts + part;
  float *result = step.memory.exact + (place * step.shape.group() + slice.first) * state_floats(d);
  attend_block<Dim, H, H >= 4 ? 2 : 4>(step, query, slice, part, kNearParts, own.position + 1 - skipped,
                                       shared, factors, result, row_at);
}

}  // namespace sounder::cuda
