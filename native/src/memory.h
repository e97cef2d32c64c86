// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace sounder {

// Anonymous memory, zero, in huge pages where the system grants them. Pages are taken when they are first
// touched, so a mapping that is large and little used costs little.
class Mapping {
 public:
  Mapping() = default;
  // Fails with SOUNDER_OUT_OF_MEMORY; what: "KV blocks of a layer", for the sentence.
  Mapping(int64_t bytes, const char *what);
  ~Mapping();
  Mapping(Mapping &&other) noexcept;
  Mapping &operator=(Mapping &&other) noexcept;

  // Aligned to 2 MiB.
  void *data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // Gives pages that lie wholly within these bytes back; their values are zero again.
  void forget(int64_t first, int64_t bytes);

 private:
  void *base_ = nullptr;
  int64_t base_bytes_ = 0;
  void *data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace sounder
