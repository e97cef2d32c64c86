// SPDX-License-Identifier: Apache-2.0
//
// XXH64, seed 0: the checksum of saved contexts. After the public specification of the algorithm; it finds
// damage, it does not keep out a forger.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sounder {

class Xxh64 {
 public:
  // Pieces of any length; their borders change nothing.
  void add(const void *data, size_t bytes);
  uint64_t value() const;

 private:
  static constexpr size_t kStripe = 32;  // four lanes of 8 bytes

  uint64_t lanes_[4] = {0x60ea27eeadc0b5d6, 0xc2b2ae3d27d4eb4f, 0, 0x61c8864e7a143579};
  uint8_t pending_[kStripe];
  size_t pending_bytes_ = 0;
  uint64_t total_bytes_ = 0;
};

uint64_t xxh64(const void *data, size_t bytes);

}  // namespace sounder
