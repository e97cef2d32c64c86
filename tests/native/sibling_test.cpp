// SPDX-License-Identifier: Apache-2.0
//
// Objects beside the library that cannot be used are told, whatever is wrong with them.
#include "sibling.h"

#include <filesystem>
#include <fstream>

#include "check.h"

namespace {

namespace fs = std::filesystem;

// A file beside this program, and what is said of it.
std::string reason_of(const std::string &name, const std::string &bytes) {
  const fs::path path = fs::read_symlink("/proc/self/exe").parent_path() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  const sounder::Sibling sibling = sounder::open_sibling(name.c_str(), "no_such_symbol");
  fs::remove(path);
  CHECK(sibling.there && sibling.plugin == nullptr);
  return sibling.reason;
}

std::string own_bytes() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST("an object that is cut short is told and does not end the process") {
  const std::string whole = own_bytes();
  for (size_t bytes : {size_t{100}, size_t{5000}, whole.size() / 4, whole.size() / 2})
    CHECK(reason_of("sibling_cut.so", whole.substr(0, bytes)).find("sibling_cut.so is cut short") !=
          std::string::npos);
}

TEST("what is no object at all, or not there, is told") {
  CHECK(reason_of("sibling_text.so", "hello").find("file too short") != std::string::npos);
  CHECK(reason_of("sibling_text.so", std::string(9000, 'x')).find("invalid ELF header") != std::string::npos);
  CHECK(!sounder::open_sibling("sibling_nowhere.so", "no_such_symbol").there);
}
