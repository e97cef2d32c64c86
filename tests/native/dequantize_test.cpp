// SPDX-License-Identifier: Apache-2.0
//
// Block formats against blocks of a real file, and against a reference that looks up each value alone, by
// where its bits lie.
#include "dequantize.h"

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "check.h"
#include "random.h"

namespace {

// A half precision number by its definition.
float half(const uint8_t *raw) {
  int bits = raw[0] | raw[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                     : exponent == 0 ? std::ldexp(fraction, -24)
                                     : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(bits >> 15 ? -magnitude : magnitude);
}

int bits_of(const uint8_t *raw, int bit, int count) {
  int value = 0;
  for (int i = 0; i < count; ++i) value |= (raw[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
  return value;
}

// Nibble i of a row of 2 n values in n bytes: low halves first.
int nibble(const uint8_t *raw, int n, int i) { return bits_of(raw, i % n * 8 + i / n * 4, 4); }

// The 6-bit numbers of Q4_K and Q5_K: 0 to 7 scales, 8 to 15 minimums. The last four of each are split:
// four low bits in the last bytes (scales in their low, minimums in their high halves), two high bits on top
// of the first bytes.
int packed_six(const uint8_t *raw, int i) {
  int group = i % 8, minimum = i / 8;
  if (group < 4) return bits_of(raw, (group + 4 * minimum) * 8, 6);
  return bits_of(raw, (group + 4) * 8 + 4 * minimum, 4) +
         16 * bits_of(raw, (group - 4 + 4 * minimum) * 8 + 6, 2);
}

// Value i of one block.
float value_in_block(int type, const uint8_t *raw, int i) {
  float d = half(raw);
  switch (type) {
    case SOUNDER_TYPE_Q8_0:
      return d * static_cast<float>(static_cast<int8_t>(raw[2 + i]));
    case SOUNDER_TYPE_Q4_0:
      return d * static_cast<float>(nibble(raw + 2, 16, i) - 8);
    case SOUNDER_TYPE_Q4_1:
      return d * static_cast<float>(nibble(raw + 4, 16, i)) + half(raw + 2);
    case SOUNDER_TYPE_Q4_K:
    case SOUNDER_TYPE_Q5_K: {
      int group = i / 32,
          q = nibble(raw + (type == SOUNDER_TYPE_Q4_K ? 16 : 48) + group / 2 * 32, 32, i % 64);
      if (type == SOUNDER_TYPE_Q5_K) q += 16 * bits_of(raw + 16, i % 32 * 8 + group, 1);
      float scale = d * static_cast<float>(packed_six(raw + 4, group));
      float minimum = half(raw + 2) * static_cast<float>(packed_six(raw + 4, group + 8));
      return scale * static_cast<float>(q) - minimum;
    }
    case SOUNDER_TYPE_Q6_K: {
      int part = i / 128, row = i % 128 / 32, column = i % 32;
      int low = bits_of(raw, (part * 64 + row % 2 * 32 + column) * 8 + row / 2 * 4, 4);
      int high = bits_of(raw + 128, (part * 32 + column) * 8 + row * 2, 2);
      float scale = half(raw + 208) * static_cast<float>(static_cast<int8_t>(raw[192 + i / 16]));
      return scale * static_cast<float>(low + 16 * high - 32);
    }
  }
  return NAN;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, 4) == 0; }

std::vector<uint8_t> from_hex(const std::string &hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// What stands between key and end in a line of JSON.
std::string field(const std::string &line, const std::string &key, char end) {
  size_t start = line.find(key);
  if (start == std::string::npos) return "";
  start += key.size();
  return line.substr(start, line.find(end, start) - start);
}

}  // namespace

TEST("blocks of a real GGUF file give exactly the values that its own library gives") {
  std::string here = __FILE__;
  std::ifstream file(here.substr(0, here.rfind('/')) +
                     "/../fixtures/golden/smollm2-135m-instruct/gguf_tensors.json");
  std::string line;
  int blocks = 0;
  while (std::getline(file, line)) {
    std::string hex = field(line, "\"hex\":\"", '"');
    if (hex.empty()) continue;
    int type = field(line, "\"type\":\"", '"') == "Q8_0" ? SOUNDER_TYPE_Q8_0 : SOUNDER_TYPE_Q4_1;
    std::string numbers = field(line, "\"values\":[", ']');
    std::vector<uint8_t> raw = from_hex(hex);
    CHECK(int(raw.size()) == sounder::type_layout(type).bytes);
    float values[32];
    sounder::dequantize(type, raw.data(), 32, values);
    const char *next = numbers.c_str();
    for (float value : values) {
      char *end;
      CHECK(same_bits(value, std::strtof(next, &end)));
      next = end + 1;
    }
    ++blocks;
  }
  CHECK(blocks == 16);
}

TEST("every block format is exact for random bits, at any alignment") {
  for (int type = SOUNDER_TYPE_Q8_0; type < SOUNDER_TYPE_COUNT; ++type) {
    const sounder::TypeLayout &layout = sounder::type_layout(type);
    const int blocks = 40;
    for (int shift : {0, 1}) {
      std::vector<uint8_t> raw(size_t(shift) + size_t(blocks) * layout.bytes);
      for (size_t i = 0; i < raw.size(); ++i) raw[i] = uint8_t(sounder::random_bits(type, i, shift));
      // Scales of random bits include infinities; those are left to the test of half precision.
      for (int b = 0; b < blocks; ++b) {
        for (int at : {0, 2, layout.bytes - 2}) raw[shift + b * layout.bytes + at + 1] &= 0xbf;
      }
      std::vector<float> values(size_t(blocks) * layout.values);
      sounder::dequantize(type, raw.data() + shift, int64_t(values.size()), values.data());
      int wrong = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        const uint8_t *block = raw.data() + shift + i / layout.values * layout.bytes;
        if (!same_bits(values[i], value_in_block(type, block, int(i) % layout.values))) ++wrong;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST("all 65,536 half precision numbers are exact") {
  int wrong = 0;
  for (int bits = 0; bits < 65536; ++bits) {
    uint8_t raw[2] = {uint8_t(bits), uint8_t(bits >> 8)};
    float value, expected = half(raw);
    sounder::dequantize(SOUNDER_TYPE_F16, raw, 1, &value);
    if (!(same_bits(value, expected) || (std::isnan(value) && std::isnan(expected)))) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST("bfloat16 is the upper half of float32, and float32 is itself") {
  const uint8_t bf16[] = {0x80, 0x3f, 0x49, 0xc0, 0x80, 0x7f};
  float values[3];
  sounder::dequantize(SOUNDER_TYPE_BF16, bf16, 3, values);
  CHECK(values[0] == 1 && values[1] == -3.140625f && std::isinf(values[2]));
  const float f32[] = {1.5f, -2e-40f, 3e38f};
  sounder::dequantize(SOUNDER_TYPE_F32, reinterpret_cast<const uint8_t *>(f32), 3, values);
  CHECK(std::memcmp(values, f32, sizeof f32) == 0);
}
