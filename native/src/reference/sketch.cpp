// SPDX-License-Identifier: Apache-2.0
#include "sketch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../sampled/sketch_kernels.h"

namespace sounder::reference {

namespace {

using Floats = std::vector<float>;

void transform(Floats &x, size_t at, size_t size) {
  for (size_t stride = 1; stride < size; stride *= 2) {
    const Floats before = x;
    for (size_t i = 0; i < size; ++i) {
      const bool upper = i & stride;
      const float own = before[at + i], other = before[at + (i ^ stride)];
      x[at + i] = upper ? other - own : own + other;
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  for (size_t i = 0; i < size; ++i) x[at + i] *= scale;
}

// The powers of two that d is the sum of, ascending.
std::vector<size_t> powers_of(size_t d) {
  std::vector<size_t> powers;
  for (size_t power = 1; power <= d; power *= 2)
    if (d & power) powers.push_back(power);
  return powers;
}

void transform_all(Floats &x, const float *signs, const std::vector<size_t> &sizes) {
  for (size_t j = 0; j < x.size(); ++j) x[j] *= signs[j];
  size_t at = 0;
  for (size_t size : sizes) {
    transform(x, at, size);
    at += size;
  }
}

bool counts_as_zeros(const Floats &x) {
  return std::any_of(x.begin(), x.end(), [](float v) { return !(std::fabs(v) < kMostValue); });
}

float sum_over_keys(Floats x) {
  for (size_t i = 16; i < x.size(); ++i) x[i % 16] += x[i];
  for (size_t half = 8; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) x[i] += x[i + half];
  return x[0];
}

// The mean to centre on, not yet rounded to integers.
Floats find_mean(const std::vector<Floats> &z, const IndexShape &shape, const Sketch *previous, int block) {
  Floats mean(static_cast<size_t>(shape.head_dim));
  for (size_t j = 0; j < mean.size(); ++j) {
    Floats column;
    for (const Floats &key : z) column.push_back(key[j]);
    mean[j] = sum_over_keys(column) / static_cast<float>(kIndexTokens);
    if (shape.centring == kCentringContext && previous != nullptr) {
      const float before = static_cast<float>(previous->mean[j]) * previous->mean_scale;
      const float total = before * static_cast<float>(block) + mean[j];
      mean[j] = total / static_cast<float>(block + 1);
    }
    if (shape.centring == kCentringOff) mean[j] = 0;
  }
  return mean;
}

float largest(const Floats &x) {
  float most = 0;
  for (float v : x) most = std::max(most, std::fabs(v));
  return most;
}

float sum_over_dimensions(const Floats &x) {
  float parts[4] = {};
  for (size_t j = 0; j < x.size(); ++j) parts[j % 4] += x[j];
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

float rounded_to_bf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

// The codes of x, and f.
float quantise(const Floats &x, int bits, std::vector<int> &codes) {
  const float steps[] = {0, 1.0f, 0.9957f, 0, 0.3352f};
  Floats squares, products, lengths;
  for (float v : x) squares.push_back(v * v);
  const float square = sum_over_dimensions(squares), size = static_cast<float>(x.size());
  const bool usable = square > kTiny;
  const float inverse_step = usable ? std::sqrt(size) / steps[bits] / std::sqrt(square) : 0.0f;
  const int count = 1 << bits;
  for (float v : x) {
    const int code = std::clamp(static_cast<int>(std::floor(v * inverse_step)) + count / 2, 0, count - 1);
    const float c = static_cast<float>(2 * code - (count - 1));
    codes.push_back(code);
    products.push_back(c * v);
    lengths.push_back(c * c);
  }
  return usable ? rounded_to_bf16(sum_over_dimensions(products) / sum_over_dimensions(lengths)) : 0.0f;
}

template <typename T>
void put(std::vector<char> &bytes, int64_t place, T value) {
  std::memcpy(bytes.data() + place, &value, sizeof value);
}

uint16_t top_half(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>(u >> 16);
}

void put_sketch(std::vector<char> &bytes, const IndexShape &shape, const Sketch &sketch) {
  const int d = shape.head_dim, bits = shape.sketch_bits;
  for (int j = 0; j < d; ++j) put(bytes, 2 * j, static_cast<int16_t>(sketch.mean[size_t(j)]));
  put(bytes, 2 * d, sketch.mean_scale);
  for (int i = 0; i < kIndexTokens; ++i) {
    put(bytes, sketch_scales_place(d) + 2 * i, top_half(sketch.scales[size_t(i)]));
    for (int j = 0; j < d; ++j)
      for (int p = 0; p < bits; ++p) {
        const int64_t group = int64_t{p} * sketch_groups(d) + j / 8;
        const int bit = sketch.codes[size_t(i)][size_t(j)] >> (bits - 1 - p) & 1;
        bytes[size_t(sketch_planes_place(d) + group * kIndexTokens + i)] |= static_cast<char>(bit << j % 8);
      }
  }
}

void put_bounds(std::vector<char> &bytes, const std::vector<Floats> &keys, const IndexShape &shape) {
  const int d = shape.head_dim, page = shape.quest_page;
  auto put_value = [&](int64_t index, float value) {
    if (shape.kv_is_f32)
      put(bytes, quest_place(shape) + 4 * index, value);
    else
      put(bytes, quest_place(shape) + 2 * index, top_half(value));
  };
  for (int first = 0; first < kIndexTokens; first += page)
    for (int j = 0; j < d; ++j) {
      float least = keys[size_t(first)][size_t(j)], greatest = least;
      for (int i = first + 1; i < first + page; ++i) {
        const float value = keys[size_t(i)][size_t(j)];
        if (value < least) least = value;
        if (value > greatest) greatest = value;
      }
      put_value(int64_t{first / page} * 2 * d + j, least);
      put_value((int64_t{first / page} * 2 + 1) * d + j, greatest);
    }
}

}  // namespace

Floats rotate(Floats x, const float *signs) {
  std::vector<size_t> sizes = powers_of(x.size());
  transform_all(x, signs, {sizes.rbegin(), sizes.rend()});
  transform_all(x, signs + x.size(), sizes);
  return x;
}

Sketch seal_sketch(const std::vector<Floats> &keys, const IndexShape &shape, const float *signs,
                   const Sketch *previous, int block) {
  std::vector<Floats> z;
  for (const Floats &key : keys) z.push_back(rotate(counts_as_zeros(key) ? Floats(key.size()) : key, signs));
  Sketch sketch;
  const Floats mean = find_mean(z, shape, previous, block);
  const float most = largest(mean);
  sketch.mean_scale = most > kTiny ? most / kMeanLimit : 0.0f;
  for (float v : mean) {
    const float inverse = most > kTiny ? 1.0f / sketch.mean_scale : 0.0f;
    const long whole = std::lrint(v * inverse);
    sketch.mean.push_back(static_cast<int>(std::clamp<long>(whole, -kMeanLimit, kMeanLimit)));
  }
  for (Floats &key : z) {
    for (size_t j = 0; j < key.size(); ++j) key[j] -= static_cast<float>(sketch.mean[j]) * sketch.mean_scale;
    sketch.codes.emplace_back();
    sketch.scales.push_back(quantise(key, shape.sketch_bits, sketch.codes.back()));
  }
  return sketch;
}

std::vector<char> record_of(const std::vector<Floats> &keys, const IndexShape &shape, const Sketch &sketch) {
  std::vector<char> bytes(static_cast<size_t>(record_bytes(shape)));
  if (shape.sketch_bits > 0) put_sketch(bytes, shape, sketch);
  if (shape.quest_page > 0) put_bounds(bytes, keys, shape);
  return bytes;
}

SketchQuery prepare_query(const Floats &q, const float *signs, int bits, float beta) {
  // E c² and cos² of the quantiser of a Gaussian.
  const float code_square[] = {0, 1.0f, 3.555f, 0, 35.2f}, cos_square[] = {0, 0.6366f, 0.8812f, 0, 0.9885f};
  const Floats z = rotate(q, signs);
  SketchQuery query;
  Floats squares;
  for (float v : z) squares.push_back(v * v);
  const float square = sum_over_dimensions(squares), most = largest(z), d = static_cast<float>(z.size());
  if (counts_as_zeros(q) || !(most > kTiny)) {
    query.q5.assign(z.size(), 0);
    query.q11 = query.q5;
    return query;
  }
  for (float v : z) {
    const float share = v * (1.0f / most);
    query.q5.push_back(static_cast<int>(std::lrint(share * kQueryLimit)));
    query.q11.push_back(static_cast<int>(std::lrint(share * kMeanLimit)));
  }
  const float unit = kScoreUnits * 0x1.715476p+0f * beta, scale = unit / std::sqrt(d);
  query.gain = scale * (most / kQueryLimit);
  query.base_gain = scale * (most / kMeanLimit);
  const float lost = code_square[bits] * (1.0f - cos_square[bits]) / (cos_square[bits] * d);
  query.spread = 0.75f * unit * square * lost;
  return query;
}

int sketch_score(const Sketch &sketch, const SketchQuery &query, int key, int bits) {
  int64_t base_product = 0, product = 0;
  for (size_t j = 0; j < query.q5.size(); ++j) {
    base_product += int64_t{query.q11[j]} * sketch.mean[j];
    product += int64_t{query.q5[j]} * (2 * sketch.codes[size_t(key)][j] - ((1 << bits) - 1));
  }
  const float base = static_cast<float>(base_product) * (sketch.mean_scale * query.base_gain);
  const float f = sketch.scales[static_cast<size_t>(key)];
  const float centred = std::fma(f, query.gain * static_cast<float>(product), base);
  const float score = std::fma(f * f, query.spread, centred);
  return static_cast<int>(std::lrint(std::clamp(score, -32767.0f, 32767.0f)));
}

}  // namespace sounder::reference
