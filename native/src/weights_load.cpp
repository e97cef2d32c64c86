// SPDX-License-Identifier: Apache-2.0
//
// Reading weights: the tensors are cut into pieces of about 2 MiB, which the team's threads read with pread,
// convert and check.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>

#include "dequantize.h"
#include "dummy_weights.h"
#include "failure.h"
#include "sounder.h"
#include "weights.h"

namespace sounder {

namespace {

constexpr int64_t kPieceBytes = int64_t{2} << 20;

class File {
 public:
  explicit File(const std::string &path)
      : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status;
    if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
      std::string reason = std::strerror(errno);
      close_descriptor();
      fail(SOUNDER_IO, "Cannot open %s: %s.", path.c_str(), reason.c_str());
    }
    if (!S_ISREG(status.st_mode)) {
      close_descriptor();
      fail(SOUNDER_IO, "Cannot read %s: it is no regular file.", path.c_str());
    }
    bytes_ = status.st_size;
  }
  ~File() { close_descriptor(); }
  File(const File &) = delete;
  File &operator=(const File &) = delete;

  const std::string &path() const { return path_; }
  int64_t bytes() const { return bytes_; }

  void read(int64_t offset, int64_t bytes, void *to) const {
    char *next = static_cast<char *>(to);
    while (bytes > 0) {
      ssize_t got = pread(descriptor_, next, static_cast<size_t>(bytes), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(SOUNDER_IO, "Cannot read %s: %s.", path_.c_str(), std::strerror(errno));
      if (got == 0) fail(SOUNDER_IO, "Cannot read %s: it became shorter while it was read.", path_.c_str());
      next += got;
      offset += got;
      bytes -= got;
    }
  }

 private:
  void close_descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
  }

  std::string path_;
  int descriptor_;
  int64_t bytes_ = 0;
};

// Values [first, first + count) of a tensor, in the order of the file. Whole rows, but for dummy values.
struct Piece {
  int tensor;
  int64_t first;
  int64_t count;
};

std::vector<Piece> cut_into_pieces(const std::vector<TensorPlace> &places) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < places.size(); ++i) {
    const TensorPlace &place = places[i];
    int64_t total = int64_t{place.rows} * place.columns, step = kPieceBytes / 2;
    if (place.file != SOUNDER_NO_FILE) {
      step = std::max<int64_t>(1, kPieceBytes / place.row_bytes()) * place.columns;
    }
    for (int64_t first = 0; first < total; first += step) {
      pieces.push_back({static_cast<int>(i), first, std::min(step, total - first)});
    }
  }
  return pieces;
}

// The index of the first value that is NaN or infinite, or -1.
template <typename T>
int64_t find_not_finite(const T *values, int64_t count, T exponent) {
  T any = 0;
  for (int64_t i = 0; i < count; ++i) any |= (values[i] & exponent) == exponent ? 1 : 0;
  if (any == 0) return -1;
  for (int64_t i = 0;; ++i) {
    if ((values[i] & exponent) == exponent) return i;
  }
}

// GGUF's llama has rows 2 i and 2 i + 1 of a head where Hugging Face has i and i + D / 2.
int64_t uninterleaved(int64_t row, int head_dim) {
  int64_t head = row / head_dim, inside = row % head_dim;
  return head * head_dim + inside % 2 * (head_dim / 2) + inside / 2;
}

class Loader {
 public:
  Loader(const ModelConfig &config, const std::vector<std::string> &files, const TensorList &tensors,
         Weights &weights, ThreadTeam &team, const Kernels &kernels, const LoadControl &control)
      : config_(config),
        places_(tensors.places()),
        weights_(weights),
        team_(team),
        kernels_(kernels),
        control_(control),
        scratch_(static_cast<size_t>(team.size())) {
    for (const std::string &path : files) files_.push_back(std::make_unique<File>(path));
    for (const TensorPlace &place : places_) check_extent(place);
    if (std::any_of(places_.begin(), places_.end(),
                    [](const TensorPlace &place) { return place.file == SOUNDER_NO_FILE; })) {
      dummy_ = std::make_unique<DummyWeights>(config.dummy_seed);
    }
  }

  void run() {
    std::vector<Piece> pieces = cut_into_pieces(places_);
    for (const Piece &piece : pieces) total_ += piece.count;
    if (!weights_.on_device()) return load_all(pieces);
    for (int layer = 0; layer < config_.layers; ++layer) {
      std::vector<Piece> own;
      std::copy_if(pieces.begin(), pieces.end(), std::back_inserter(own),
                   [&](const Piece &piece) { return places_[piece.tensor].layer == layer; });
      load_all(own);
      weights_.send_layer(layer);
    }
  }

 private:
  void load_all(const std::vector<Piece> &pieces) {
    auto body = [&](int chunk, int thread) {
      if (failed_.load(std::memory_order_relaxed)) return;
      try {
        control_.require_going_on();
        load(pieces[chunk], scratch_[thread]);
        int64_t sum = done_.fetch_add(pieces[chunk].count) + pieces[chunk].count;
        control_.report(sum, total_);
      } catch (...) {
        keep_failure(std::current_exception());
      }
    };
    team_.run(static_cast<int>(pieces.size()), body);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

  struct Scratch {
    std::vector<uint8_t> raw;
    std::vector<float> row;
    std::vector<float> ordered;
  };

  void check_extent(const TensorPlace &place) const {
    if (place.file == SOUNDER_NO_FILE) return;
    const File &file = *files_[place.file];
    if (place.bytes() > file.bytes() || place.offset > file.bytes() - place.bytes()) {
      fail(SOUNDER_INVALID,
           "Tensor %s takes %lld bytes from byte %lld on, but %s ends at byte %lld: the file is cut off, or "
           "its "
           "header is wrong.",
           tensor_name(place.role, place.layer).c_str(), static_cast<long long>(place.bytes()),
           static_cast<long long>(place.offset), file.path().c_str(), static_cast<long long>(file.bytes()));
    }
  }

  void keep_failure(std::exception_ptr failure) {
    std::lock_guard lock(failure_mutex_);
    if (failure_ == nullptr) failure_ = failure;
    failed_.store(true);
  }

  void load(const Piece &piece, Scratch &scratch) {
    const TensorPlace &place = places_[piece.tensor];
    bool f32 = config_.f32 || role_is_vector(place.role);
    char *to = static_cast<char *>(weights_.destination(place.role, place.layer));
    if (place.file == SOUNDER_NO_FILE) {
      make_values(place, piece, f32, to);
      return;
    }
    bool same = place.type == (f32 ? SOUNDER_TYPE_F32 : SOUNDER_TYPE_BF16);
    int64_t first_byte = place.offset + piece.first / place.columns * place.row_bytes();
    int64_t bytes = piece.count / place.columns * place.row_bytes();
    if (same && place.interleaved_heads == 0) {
      files_[place.file]->read(first_byte, bytes, to + piece.first * (f32 ? 4 : 2));
      check_finite(place, piece.first, piece.count, f32, to);
      return;
    }
    scratch.raw.resize(static_cast<size_t>(bytes));
    files_[place.file]->read(first_byte, bytes, scratch.raw.data());
    convert(place, piece, f32, scratch, to);
  }

  void make_values(const TensorPlace &place, const Piece &piece, bool f32, char *to) const {
    if (role_is_norm(place.role)) {
      std::fill_n(reinterpret_cast<float *>(to) + piece.first, piece.count, 1.0f);
    } else if (f32) {
      dummy_->fill_f32(place.role, place.layer, piece.first, piece.count,
                       reinterpret_cast<float *>(to) + piece.first);
    } else {
      dummy_->fill_bf16(place.role, place.layer, piece.first, piece.count,
                        reinterpret_cast<uint16_t *>(to) + piece.first);
    }
  }

  // Row by row, each to the place where it belongs.
  void convert(const TensorPlace &place, const Piece &piece, bool f32, Scratch &scratch, char *to) const {
    int columns = place.columns;
    scratch.row.resize(static_cast<size_t>(columns));
    int64_t first_row = piece.first / columns, rows = piece.count / columns;
    for (int64_t i = 0; i < rows; ++i) {
      const float *row = scratch.row.data();
      dequantize(place.type, scratch.raw.data() + i * place.row_bytes(), columns, scratch.row.data());
      int64_t target = first_row + i;
      if (place.interleaved_heads != 0 && place.rows > 1) {
        target = uninterleaved(target, config_.head_dim);
      } else if (place.interleaved_heads != 0) {
        row = ordered_vector(scratch, columns);
      }
      if (f32) {
        std::memcpy(reinterpret_cast<float *>(to) + target * columns, row, size_t(columns) * 4);
      } else {
        kernels_.f32_to_bf16(row, reinterpret_cast<uint16_t *>(to) + target * columns, columns);
      }
      check_finite(place, target * columns, columns, f32, to);
    }
  }

  const float *ordered_vector(Scratch &scratch, int columns) const {
    scratch.ordered.resize(static_cast<size_t>(columns));
    for (int j = 0; j < columns; ++j) scratch.ordered[uninterleaved(j, config_.head_dim)] = scratch.row[j];
    return scratch.ordered.data();
  }

  void check_finite(const TensorPlace &place, int64_t first, int64_t count, bool f32,
                    const char *values) const {
    int64_t at =
        f32 ? find_not_finite<uint32_t>(reinterpret_cast<const uint32_t *>(values) + first, count, 0x7f800000)
            : find_not_finite<uint16_t>(reinterpret_cast<const uint16_t *>(values) + first, count, 0x7f80);
    if (at < 0) return;
    fail(SOUNDER_INVALID, "Tensor %s in %s has a value that is NaN or infinite (row %lld, column %lld).",
         tensor_name(place.role, place.layer).c_str(), files_[place.file]->path().c_str(),
         static_cast<long long>((first + at) / place.columns),
         static_cast<long long>((first + at) % place.columns));
  }

  const ModelConfig &config_;
  const std::vector<TensorPlace> &places_;
  Weights &weights_;
  ThreadTeam &team_;
  const Kernels &kernels_;
  const LoadControl &control_;
  std::vector<std::unique_ptr<File>> files_;
  std::unique_ptr<DummyWeights> dummy_;
  std::vector<Scratch> scratch_;
  int64_t total_ = 0;  // values
  std::atomic<int64_t> done_{0};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace

void load_weights(const ModelConfig &config, const std::vector<std::string> &files, const TensorList &tensors,
                  Weights &weights, ThreadTeam &team, const Kernels &kernels, const LoadControl &control) {
  tensors.require_complete(config, files);
  Loader(config, files, tensors, weights, team, kernels, control).run();
}

}  // namespace sounder
