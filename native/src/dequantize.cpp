// SPDX-License-Identifier: Apache-2.0
//
// The block formats are those of ggml (docs: the GGUF specification; quantities in the order in which
// they lie in a block). Products of a 16-bit scale with small integers are exact in float32, so that no
// result depends on whether the compiler fuses a multiplication with an addition.
#include "dequantize.h"

#include <cstring>

namespace sounder {

namespace {

constexpr TypeLayout kLayouts[SOUNDER_TYPE_COUNT] = {
    {"F32", 1, 4},    {"F16", 1, 2},      {"BF16", 1, 2},     {"Q8_0", 32, 34},   {"Q4_0", 32, 18},
    {"Q4_1", 32, 20}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210},
};

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint16_t read16(const uint8_t *raw) {
  uint16_t value;
  std::memcpy(&value, raw, sizeof value);
  return value;
}

// Exponent and fraction moved into their place give the value times 2^-112, subnormals included.
float half_to_float(uint16_t half) {
  float magnitude = float_of(uint32_t(half & 0x7fff) << 13) * 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  if ((half & 0x7c00) == 0x7c00) bits |= 0x7f800000;
  return float_of(bits | uint32_t(half & 0x8000) << 16);
}

float read_half(const uint8_t *raw) { return half_to_float(read16(raw)); }

// Half precision scale, 32 signed bytes.
void block_q8_0(const uint8_t *raw, float *values) {
  float scale = read_half(raw);
  for (int i = 0; i < 32; ++i) values[i] = scale * static_cast<int8_t>(raw[2 + i]);
}

// Scale, then 16 bytes: the low halves are values 0 to 15, the high halves 16 to 31, all 8 too large.
void block_q4_0(const uint8_t *raw, float *values) {
  float scale = read_half(raw);
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * ((raw[2 + i] & 15) - 8);
    values[i + 16] = scale * ((raw[2 + i] >> 4) - 8);
  }
}

// Scale, minimum, then nibbles as in Q4_0.
void block_q4_1(const uint8_t *raw, float *values) {
  float scale = read_half(raw), minimum = read_half(raw + 2);
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * (raw[4 + i] & 15) + minimum;
    values[i + 16] = scale * (raw[4 + i] >> 4) + minimum;
  }
}

// The 6-bit scale and minimum of group g (0 to 7) out of the 12 bytes of Q4_K and Q5_K: for g < 4 whole in
// bytes g and g + 4; otherwise four low bits in byte g + 4 and two high ones on top of bytes g - 4 and g.
void group_scale(const uint8_t *packed, int g, int *scale, int *minimum) {
  if (g < 4) {
    *scale = packed[g] & 63;
    *minimum = packed[g + 4] & 63;
  } else {
    *scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
    *minimum = packed[g + 4] >> 4 | (packed[g] >> 6) << 4;
  }
}

// Scale, scale of the minimums, 12 bytes of group scales, for Q5_K 32 bytes of fifth bits (bit g of byte i
// belongs to value i of group g), 128 bytes of nibbles: 32 bytes hold two groups, the low halves first.
void block_q45_k(const uint8_t *raw, bool fifth_bit, float *values) {
  float scale = read_half(raw), minimum_scale = read_half(raw + 2);
  const uint8_t *high = raw + 16, *low = raw + (fifth_bit ? 48 : 16);
  for (int g = 0; g < 8; ++g) {
    int group, group_minimum;
    group_scale(raw + 4, g, &group, &group_minimum);
    float step = scale * group, minimum = minimum_scale * group_minimum;
    const uint8_t *nibbles = low + g / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      int q = g % 2 == 0 ? nibbles[i] & 15 : nibbles[i] >> 4;
      if (fifth_bit) q |= (high[i] >> g & 1) << 4;
      values[g * 32 + i] = step * q - minimum;
    }
  }
}

// 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales of 16 values each, scale. Each half
// of 128 values has four rows of 32: rows 0 and 1 the low halves of its 64 nibble bytes, rows 2 and 3 the
// high ones; row r has bits 2 r and 2 r + 1 of its 32 bytes of pairs. All values are 32 too large.
void block_q6_k(const uint8_t *raw, float *values) {
  float scale = read_half(raw + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t *low = raw + half * 64, *high = raw + 128 + half * 32, *scales = raw + 192 + half * 8;
    for (int row = 0; row < 4; ++row) {
      for (int i = 0; i < 32; ++i) {
        int byte = low[row % 2 * 32 + i];
        int q = (row < 2 ? byte & 15 : byte >> 4) | (high[i] >> 2 * row & 3) << 4;
        float step = scale * static_cast<int8_t>(scales[row * 2 + i / 16]);
        values[half * 128 + row * 32 + i] = step * (q - 32);
      }
    }
  }
}

}  // namespace

const TypeLayout &type_layout(int type) { return kLayouts[type]; }

void dequantize(int type, const uint8_t *raw, int64_t count, float *values) {
  const TypeLayout &layout = kLayouts[type];
  if (type == SOUNDER_TYPE_F32) {
    std::memcpy(values, raw, static_cast<size_t>(count) * 4);
    return;
  }
  for (int64_t i = 0; i < count; i += layout.values, raw += layout.bytes, values += layout.values) {
    switch (type) {
      case SOUNDER_TYPE_F16:
        *values = read_half(raw);
        break;
      case SOUNDER_TYPE_BF16:
        *values = float_of(uint32_t(read16(raw)) << 16);
        break;
      case SOUNDER_TYPE_Q8_0:
        block_q8_0(raw, values);
        break;
      case SOUNDER_TYPE_Q4_0:
        block_q4_0(raw, values);
        break;
      case SOUNDER_TYPE_Q4_1:
        block_q4_1(raw, values);
        break;
      case SOUNDER_TYPE_Q4_K:
      case SOUNDER_TYPE_Q5_K:
        block_q45_k(raw, type == SOUNDER_TYPE_Q5_K, values);
        break;
      case SOUNDER_TYPE_Q6_K:
        block_q6_k(raw, values);
        break;
    }
  }
}

}  // namespace sounder
