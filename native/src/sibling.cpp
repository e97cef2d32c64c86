// SPDX-License-Identifier: Apache-2.0
#include "sibling.h"

#include <dlfcn.h>

#include <filesystem>

namespace sounder {

Sibling open_sibling(const char *file, const char *symbol) {
  Dl_info here;
  static const char anchor = 0;
  if (dladdr(&anchor, &here) == 0 || here.dli_fname == nullptr)
    return {false, nullptr, "own location unknown"};
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(here.dli_fname, error).parent_path() / file;
  if (!std::filesystem::exists(path, error)) return {false, nullptr, std::string(file) + " is not there"};
  void *object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) {
    const char *text = dlerror();
    return {true, nullptr, text != nullptr ? text : std::string(file) + " cannot be opened"};
  }
  auto get = reinterpret_cast<const void *(*)()>(dlsym(object, symbol));
  if (get == nullptr) return {true, nullptr, std::string(file) + " is none of ours"};
  return {true, get(), ""};
}

}  // namespace sounder
