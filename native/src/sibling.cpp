// SPDX-License-Identifier: Apache-2.0
#include "sibling.h"

#include <dlfcn.h>
#include <elf.h>

#include <filesystem>
#include <fstream>

namespace sounder {

namespace {

// Whether parts that are to be mapped lie beyond the file's end, as after a copy that was broken off: dlopen
// would end the process with SIGBUS. What is no object at all dlopen refuses by itself.
bool is_cut_short(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  Elf64_Phdr part{};
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error || !file.read(reinterpret_cast<char *>(&header), sizeof header)) return false;
  if (std::string(reinterpret_cast<char *>(header.e_ident), SELFMAG) != ELFMAG) return false;
  file.seekg(static_cast<std::streamoff>(header.e_phoff));
  for (int i = 0; i < header.e_phnum; ++i) {
    if (!file.read(reinterpret_cast<char *>(&part), sizeof part)) return true;
    if (part.p_type == PT_LOAD && part.p_offset + part.p_filesz > bytes) return true;
  }
  return false;
}

}  // namespace

Sibling open_sibling(const char *file, const char *symbol) {
  Dl_info here;
  static const char anchor = 0;
  if (dladdr(&anchor, &here) == 0 || here.dli_fname == nullptr)
    return {false, nullptr, "own location unknown"};
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(here.dli_fname, error).parent_path() / file;
  if (!std::filesystem::exists(path, error)) return {false, nullptr, std::string(file) + " is not there"};
  if (is_cut_short(path)) return {true, nullptr, path.string() + " is cut short"};
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
