// SPDX-License-Identifier: Apache-2.0
//
// Files of saved contexts. A new one gets its name only when all of it is on the disk: whoever looks sees
// the old file, or none, or the whole new one. All fail with SOUNDER_IO and the system's reason.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

namespace sounder {

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor();
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

class NewFile {
 public:
  // Takes the room for all its bytes at once, so that a full disk is found before anything is written.
  NewFile(const std::string &path, int64_t bytes);
  // Removes what was not committed.
  ~NewFile();

  // Appends the pieces; changes the array.
  void write(std::vector<iovec> &pieces);
  // Gives the file its name, in the place of what had it.
  void commit();

  static constexpr const char *kSuffix = ".partial";

 private:
  [[noreturn]] void refuse(const char *action);
  void sync_folder();

  std::string path_, partial_;
  Descriptor descriptor_;
  int64_t bytes_;
  int64_t written_ = 0;
  int64_t sent_ = 0;  // to the disk, while more is written
  bool committed_ = false;
};

class SavedFile {
 public:
  explicit SavedFile(const std::string &path);
  int64_t bytes() const { return bytes_; }
  // Fills the pieces from this place on; changes the array.
  void read(int64_t place, std::vector<iovec> &pieces) const;
  void read(int64_t place, void *data, int64_t bytes) const;

 private:
  std::string path_;
  Descriptor descriptor_;
  int64_t bytes_ = 0;
};

}  // namespace sounder
