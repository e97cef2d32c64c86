// SPDX-License-Identifier: Apache-2.0
#include "../cuda_sampled_test.h"

// Before any test; ctest takes 77 for skipped.
static const bool kHasDevice = [] {
  const std::string why = device_memory::why_no_device();
  if (why.empty()) return true;
  std::printf("skipped: there is no GPU to run kernels on (%s)\n", why.c_str());
  std::exit(77);
}();
