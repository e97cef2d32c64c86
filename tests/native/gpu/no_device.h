// SPDX-License-Identifier: Apache-2.0
//
// Skips all tests of a program where there is no GPU: before any test, as ctest takes 77 for skipped.
#pragma once

#include <cstdio>

#include "device_memory.h"

static const bool kHasDevice = [] {
  const std::string why = device_memory::why_no_device();
  if (why.empty()) return true;
  std::printf("skipped: there is no GPU to run kernels on (%s)\n", why.c_str());
  std::exit(77);
}();
