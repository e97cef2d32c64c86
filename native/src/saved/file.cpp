// SPDX-License-Identifier: Apache-2.0
#include "file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "../failure.h"

namespace sounder {

namespace {

constexpr size_t kPiecesAtOnce = 512;              // below every system's IOV_MAX
constexpr int64_t kSendEvery = int64_t{16} << 20;  // so that the sync at the end has little left to do

// The system would end the process that passes this limit, instead of refusing.
void require_allowed(int64_t bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || static_cast<uint64_t>(bytes) <= limit.rlim_cur) return;
  fail(SOUNDER_IO, "Cannot save a context of %s: this process may write files of %s (ulimit -f).",
       size_text(bytes).c_str(), size_text(static_cast<int64_t>(limit.rlim_cur)).c_str());
}

// What an interrupted save left under the name is replaced: its writer is gone.
int open_new(const std::string &path, int64_t bytes) {
  require_allowed(bytes);
  unlink(path.c_str());
  return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

// Moves past the bytes that were transferred.
void skip(std::vector<iovec> &pieces, size_t &first, size_t bytes) {
  while (first < pieces.size() && bytes >= pieces[first].iov_len) bytes -= pieces[first++].iov_len;
  if (bytes == 0) return;
  pieces[first].iov_base = static_cast<char *>(pieces[first].iov_base) + bytes;
  pieces[first].iov_len -= bytes;
}

int count_from(const std::vector<iovec> &pieces, size_t first) {
  return static_cast<int>(std::min(pieces.size() - first, kPiecesAtOnce));
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

NewFile::NewFile(const std::string &path, int64_t bytes)
    : path_(path), partial_(path + kSuffix), descriptor_(open_new(partial_, bytes)), bytes_(bytes) {
  if (descriptor_.number() < 0) refuse("make");
  // File systems that cannot take room ahead say so, and find a full disk while writing.
  if (fallocate(descriptor_.number(), 0, 0, bytes) == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return;
  const int reason = errno;
  unlink(partial_.c_str());
  errno = reason;
  refuse("take room for");
}

NewFile::~NewFile() {
  if (!committed_ && descriptor_.number() >= 0) unlink(partial_.c_str());
}

void NewFile::refuse(const char *action) {
  const int reason = errno;
  fail(SOUNDER_IO, "Cannot save a context of %s: the system does not %s %s: %s.", size_text(bytes_).c_str(),
       action, partial_.c_str(), std::strerror(reason));
}

void NewFile::write(std::vector<iovec> &pieces) {
  for (size_t first = 0; first < pieces.size();) {
    const ssize_t done = writev(descriptor_.number(), pieces.data() + first, count_from(pieces, first));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) refuse("write");
    written_ += done;
    skip(pieces, first, static_cast<size_t>(done));
  }
  if (written_ - sent_ < kSendEvery) return;
  sync_file_range(descriptor_.number(), sent_, written_ - sent_, SYNC_FILE_RANGE_WRITE);
  sent_ = written_;
}

void NewFile::commit() {
  if (fsync(descriptor_.number()) != 0) refuse("sync");
  if (rename(partial_.c_str(), path_.c_str()) != 0) refuse("rename");
  committed_ = true;
  sync_folder();
}

void NewFile::sync_folder() {
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  Descriptor descriptor(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.number() < 0 || fsync(descriptor.number()) != 0) refuse("sync the folder of");
}

SavedFile::SavedFile(const std::string &path)
    // Not blocking, so that a pipe in the place of a file does not hold up the caller.
    : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status;
  if (descriptor_.number() < 0 || fstat(descriptor_.number(), &status) != 0)
    fail(SOUNDER_IO, "Cannot open the saved context %s: %s.", path.c_str(), std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    fail(SOUNDER_IO, "Cannot open the saved context %s: it is no file.", path.c_str());
  bytes_ = status.st_size;
}

void SavedFile::read(int64_t place, std::vector<iovec> &pieces) const {
  for (size_t first = 0; first < pieces.size();) {
    const ssize_t done =
        preadv(descriptor_.number(), pieces.data() + first, count_from(pieces, first), place);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0)
      fail(SOUNDER_IO, "Cannot read the saved context %s: %s.", path_.c_str(), std::strerror(errno));
    if (done == 0)
      fail(SOUNDER_IO, "Cannot read the saved context %s: it became shorter meanwhile.", path_.c_str());
    place += done;
    skip(pieces, first, static_cast<size_t>(done));
  }
}

void SavedFile::read(int64_t place, void *data, int64_t bytes) const {
  std::vector<iovec> pieces;
  if (bytes > 0) pieces.push_back({data, static_cast<size_t>(bytes)});
  read(place, pieces);
}

}  // namespace sounder
