// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "failure.h"

namespace sounder {

namespace {
constexpr int64_t kHugePage = int64_t{2} << 20;
}

Mapping::Mapping(int64_t bytes, const char *what) {
  // One page more than asked for, so that an aligned start fits; what is never touched costs nothing.
  int64_t base_bytes = bytes + kHugePage;
  void *base = mmap(nullptr, static_cast<size_t>(base_bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    fail(SOUNDER_OUT_OF_MEMORY, "The system refused %s for %s: %s.", size_text(bytes).c_str(), what,
         std::strerror(errno));
  }
  base_ = base;
  base_bytes_ = base_bytes;
  bytes_ = bytes;
  uintptr_t start = (reinterpret_cast<uintptr_t>(base) + kHugePage - 1) & ~uintptr_t(kHugePage - 1);
  data_ = reinterpret_cast<void *>(start);
  // Only a wish: without huge pages everything works, slower.
  madvise(data_, static_cast<size_t>(bytes), MADV_HUGEPAGE);
}

Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, static_cast<size_t>(base_bytes_));
}

void Mapping::forget(int64_t first, int64_t bytes) {
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t start = (first + page - 1) / page * page, end = (first + bytes) / page * page;
  if (end > start)
    madvise(static_cast<char *>(data_) + start, static_cast<size_t>(end - start), MADV_DONTNEED);
}

Mapping::Mapping(Mapping &&other) noexcept { *this = std::move(other); }

Mapping &Mapping::operator=(Mapping &&other) noexcept {
  std::swap(base_, other.base_);
  std::swap(base_bytes_, other.base_bytes_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace sounder
