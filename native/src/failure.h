// SPDX-License-Identifier: Apache-2.0
//
// How the library says that something went wrong: an exception with a status of the ABI and a sentence.
// It ends at the guard in api.cpp.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "sounder.h"

namespace sounder {

class Failure : public std::runtime_error {
 public:
  Failure(int32_t status, const std::string &text) : std::runtime_error(text), status_(status) {}
  int32_t status() const { return status_; }

 private:
  int32_t status_;
};

[[noreturn, gnu::format(printf, 2, 3)]] void fail(int32_t status, const char *format, ...);

[[gnu::format(printf, 1, 2)]] std::string formatted(const char *format, ...);

// "1.50 GiB"
std::string size_text(int64_t bytes);

}  // namespace sounder
