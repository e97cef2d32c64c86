// SPDX-License-Identifier: Apache-2.0
//
// The checksum of saved contexts, against what Debian's libxxhash 0.8.1 makes of the same bytes.
#include "saved/xxh64.h"

#include <vector>

#include "check.h"

using sounder::Xxh64;
using sounder::xxh64;

namespace {

std::vector<uint8_t> pattern(size_t bytes) {
  std::vector<uint8_t> values(bytes);
  for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<uint8_t>(i * 131 + 7 * (i >> 3));
  return values;
}

struct Expected {
  size_t bytes;
  uint64_t value;
};
constexpr Expected kExpected[] = {
    {0, 0xef46db3751d8e999},   {1, 0xe934a84adb052768},   {3, 0xa83378d1eb86ec62},
    {4, 0x9882e57ed36c4cfc},   {7, 0xf0aef407b44730f8},   {8, 0xa5bc8d8944331fe7},
    {11, 0x850e923cf56d1427},  {31, 0x477fe7ee38df25a0},  {32, 0x92fa72bc6f583c99},
    {33, 0x53ed78b0b9a53a83},  {63, 0x0c3b390e5c3a1ca1},  {64, 0xdc6315e7a2147f9e},
    {65, 0x100cc64d26c397f8},  {100, 0x24c20984f332de2b}, {255, 0x9c94fbc0f6ce3de0},
    {1000, 0x9822cff6ba3ac9ba}};

}  // namespace

TEST("every length class gives XXH64's value") {
  for (const Expected &expected : kExpected) {
    const std::vector<uint8_t> bytes = pattern(expected.bytes);
    CHECK(xxh64(bytes.data(), bytes.size()) == expected.value);
  }
}

TEST("the borders of pieces change nothing") {
  const std::vector<uint8_t> bytes = pattern(1000);
  for (size_t step = 1; step < 80; ++step) {
    Xxh64 hash;
    for (size_t at = 0; at < bytes.size(); at += step)
      hash.add(bytes.data() + at, std::min(step, bytes.size() - at));
    CHECK(hash.value() == 0x9822cff6ba3ac9ba);
  }
}

TEST("every flipped bit changes the value") {
  std::vector<uint8_t> bytes = pattern(100);
  const uint64_t before = xxh64(bytes.data(), bytes.size());
  for (size_t bit = 0; bit < 800; ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    CHECK(xxh64(bytes.data(), bytes.size()) != before);
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}
