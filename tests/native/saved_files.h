// SPDX-License-Identifier: Apache-2.0
//
// For the tests of saved contexts: a folder that is removed, files as bytes, and the calls with comfort.
#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "test_engine.h"

namespace tiny {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/sounder_saved_XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path_ = name;
  }
  ~Folder() {
    for (const std::string &name : names()) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  Folder(const Folder &) = delete;
  Folder &operator=(const Folder &) = delete;

  std::string at(const std::string &name) const { return path_ + "/" + name; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    DIR *folder = opendir(path_.c_str());
    while (const dirent *entry = folder == nullptr ? nullptr : readdir(folder)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") all.push_back(name);
    }
    if (folder != nullptr) closedir(folder);
    return all;
  }

 private:
  std::string path_;
};

inline std::vector<uint8_t> read_file(const std::string &path) {
  std::vector<uint8_t> bytes;
  std::FILE *file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return bytes;
  uint8_t buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;)
    bytes.insert(bytes.end(), buffer, buffer + n);
  std::fclose(file);
  return bytes;
}

inline void write_file(const std::string &path, const std::vector<uint8_t> &bytes) {
  unlink(path.c_str());  // file systems sync a file that is cut and written again
  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) std::abort();
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::abort();
  std::fclose(file);
}

// Identities that differ in their last byte.
struct Identity {
  uint8_t bytes[SOUNDER_IDENTITY_BYTES] = {1, 2, 3};
  static Identity other_model() { return with(31); }
  static Identity other_tokenizer() { return with(63); }

 private:
  static Identity with(int place) {
    Identity identity;
    identity.bytes[place] = 9;
    return identity;
  }
};

inline const uint8_t *raw(const std::string &text) { return reinterpret_cast<const uint8_t *>(text.data()); }

inline int32_t save(Engine &engine, int32_t context, int32_t tokens, const std::string &path,
                    const std::string &note = "", const Identity &identity = {}) {
  return sounder_context_save(engine.handle(), context, tokens, raw(path), int32_t(path.size()),
                              identity.bytes, raw(note), int32_t(note.size()));
}

inline int32_t restore(Engine &engine, const std::string &path, const Identity &identity = {},
                       int32_t tokens = INT32_MAX) {
  return sounder_context_restore(engine.handle(), tokens, raw(path), int32_t(path.size()), identity.bytes);
}

struct Described {
  int32_t status;
  std::vector<int64_t> figures;
  std::string note;
  std::vector<int32_t> tokens;
};
inline Described describe(Engine &engine, const std::string &path, const Identity &identity = {}) {
  Described d{0, std::vector<int64_t>(SOUNDER_SAVED_COUNT), std::string(SOUNDER_MAX_NOTE_BYTES, '\0'),
              std::vector<int32_t>(4096)};
  d.status = sounder_saved_describe(engine.handle(), raw(path), int32_t(path.size()), identity.bytes,
                                    d.figures.data(), SOUNDER_SAVED_COUNT,
                                    reinterpret_cast<uint8_t *>(d.note.data()), int32_t(d.note.size()),
                                    d.tokens.data(), int32_t(d.tokens.size()));
  d.note.resize(size_t(d.figures[SOUNDER_SAVED_NOTE_BYTES]));
  d.tokens.resize(size_t(d.figures[SOUNDER_SAVED_TOKENS]));
  return d;
}

// Greedy tokens after what a context has and this first one.
inline std::vector<int32_t> continued(Engine &engine, int32_t context, int32_t first, int count,
                                      const Sequence &like = {0, {}}) {
  std::vector<int32_t> tokens;
  Sequence sequence = like;
  sequence.context = context;
  sequence.tokens = {first};
  for (int i = 0; i < count; ++i) {
    tokens.push_back(engine.step({sequence}).sampled[0]);
    sequence.tokens = {tokens.back()};
  }
  return tokens;
}

}  // namespace tiny
