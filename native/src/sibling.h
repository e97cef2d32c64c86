// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace sounder {

// A shared object beside the one that this code is in, opened for good: what it needs keeps state in threads
// that outlive any engine. Looks the symbol up and returns what that function returns.
struct Sibling {
  bool there = false;            // the file is
  const void *plugin = nullptr;  // nullptr: it cannot be used
  std::string reason;            // why not, in a few words
};
Sibling open_sibling(const char *file, const char *symbol);

}  // namespace sounder
