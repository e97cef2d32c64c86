// SPDX-License-Identifier: Apache-2.0
#include "xxh64.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace sounder {

namespace {

static_assert(std::endian::native == std::endian::little, "saved contexts are little-endian");

constexpr uint64_t kPrime1 = 0x9e3779b185ebca87, kPrime2 = 0xc2b2ae3d27d4eb4f, kPrime3 = 0x165667b19e3779f9;
constexpr uint64_t kPrime4 = 0x85ebca77c2b2ae63, kPrime5 = 0x27d4eb2f165667c5;

template <typename T>
T load(const uint8_t *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

void add_stripes(uint64_t *lanes, const uint8_t *bytes, size_t count) {
  uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
  for (size_t i = 0; i < count; ++i, bytes += 32) {
    a = round(a, load<uint64_t>(bytes));
    b = round(b, load<uint64_t>(bytes + 8));
    c = round(c, load<uint64_t>(bytes + 16));
    d = round(d, load<uint64_t>(bytes + 24));
  }
  lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
}

uint64_t merged(const uint64_t *lanes) {
  uint64_t hash =
      std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
  for (int i = 0; i < 4; ++i) hash = (hash ^ round(0, lanes[i])) * kPrime1 + kPrime4;
  return hash;
}

uint64_t with_rest(uint64_t hash, const uint8_t *bytes, size_t count) {
  for (; count >= 8; bytes += 8, count -= 8)
    hash = std::rotl(hash ^ round(0, load<uint64_t>(bytes)), 27) * kPrime1 + kPrime4;
  if (count >= 4) {
    hash = std::rotl(hash ^ load<uint32_t>(bytes) * kPrime1, 23) * kPrime2 + kPrime3;
    bytes += 4, count -= 4;
  }
  for (; count > 0; ++bytes, --count) hash = std::rotl(hash ^ *bytes * kPrime5, 11) * kPrime1;
  return hash;
}

uint64_t avalanche(uint64_t hash) {
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace

void Xxh64::add(const void *data, size_t bytes) {
  if (bytes == 0) return;
  const uint8_t *from = static_cast<const uint8_t *>(data);
  total_bytes_ += bytes;
  if (pending_bytes_ > 0) {
    const size_t fill = std::min(bytes, kStripe - pending_bytes_);
    std::memcpy(pending_ + pending_bytes_, from, fill);
    pending_bytes_ += fill, from += fill, bytes -= fill;
    if (pending_bytes_ < kStripe) return;
    add_stripes(lanes_, pending_, 1);
  }
  add_stripes(lanes_, from, bytes / kStripe);
  pending_bytes_ = bytes % kStripe;
  std::memcpy(pending_, from + (bytes - pending_bytes_), pending_bytes_);
}

uint64_t Xxh64::value() const {
  const uint64_t start = total_bytes_ >= kStripe ? merged(lanes_) : kPrime5;
  return avalanche(with_rest(start + total_bytes_, pending_, pending_bytes_));
}

uint64_t xxh64(const void *data, size_t bytes) {
  Xxh64 hash;
  hash.add(data, bytes);
  return hash.value();
}

}  // namespace sounder
