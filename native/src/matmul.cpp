// SPDX-License-Identifier: Apache-2.0
#include "matmul.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "onednn/loader.h"

namespace sounder {
namespace {

// A panel is what one chunk takes of the weights: in f32 it fits a second-level cache for rows up to 4,096.
constexpr int kPanelRows = 64;
// Tokens that one chunk multiplies with its panel: enough to pay for widening or laying out the panel.
constexpr int kTokenBlock = 512;
constexpr int kLeastTokenBlock = 64;
constexpr int kPanelSlack = 1024;  // columns, see workspace_bytes
// bf16 products are compiled for each number of tokens: multiples of this, others are padded with zeros.
constexpr int kTokenQuantum = 32;
// Chunks for each thread, so that one thread that is held up leaves its share to the others.
constexpr int kChunksPerThread = 6;
// Weights that a decode chunk streams: microseconds of work, so that taking it from the counter is cheap.
constexpr int64_t kStreamBytes = 128 * 1024;

constexpr int64_t kAlignment = 64;

int round_up(int value, int step) { return (value + step - 1) / step * step; }
int ceil_div(int value, int step) { return (value + step - 1) / step; }

int64_t thread_bytes(int max_columns) {
  int64_t panel = int64_t{kPanelRows} * (max_columns + kPanelSlack) * sizeof(float);
  int64_t product = int64_t{kPanelRows} * kTokenBlock * sizeof(float);
  return panel + product;
}

static_assert(gemm_scratch(kPanelRows) <= int64_t{kPanelRows} * kPanelSlack);

struct Free {
  void operator()(char *bytes) const { ::operator delete[](bytes, std::align_val_t{kAlignment}); }
};

// One multiplication, as the chunks see it.
struct Job {
  const WeightMatrix &w;
  const float *x;
  int tokens;
  const float *bias;
  float *y;
  int64_t y_stride;

  const uint16_t *bf16(int row) const {
    return static_cast<const uint16_t *>(w.data) + int64_t{row} * w.columns;
  }
  const float *f32(int row) const { return static_cast<const float *>(w.data) + int64_t{row} * w.columns; }
};

// Rows [row, row + rows) of w and tokens [token, token + tokens) of x.
struct Part {
  int row, rows, token, tokens;
};

}  // namespace

struct Matmul::State {
  ThreadTeam &team;
  const Kernels &kernels;
  bool deterministic;
  ChunkShares shares{team.size()};
  const OnednnPlugin *onednn = nullptr;  // nullptr: own products
  bool on_tiles = false;                 // oneDNN multiplies bf16 on AMX tiles
  std::string description{};
  int64_t thread_stride = 0;  // bytes
  int64_t panel_bytes = 0;
  std::unique_ptr<char[], Free> scratch{};
  uint16_t *x_bf16 = nullptr;

  float *panel(int thread) { return reinterpret_cast<float *>(scratch.get() + thread * thread_stride); }
  float *product(int thread) { return panel(thread) + panel_bytes / static_cast<int64_t>(sizeof(float)); }

  void choose_library();
  void stream(const Job &job);
  void stream_part(const Job &job, const Part &part);
  void block(const Job &job);
  void block_part(const Job &job, const Part &part, int thread);
  bool f32_part(const Job &job, const Part &part, int thread);
  bool bf16_part(const Job &job, const Part &part, int thread);
  void own_part(const Job &job, const Part &part, int thread);
  void round_x(const Job &job);
  void add_bias(const Job &job, const Part &part);
};

void Matmul::State::choose_library() {
  if (deterministic) {
    description = "own kernels, deterministic";
    return;
  }
  std::string reason = "the scalar level";
  bool scalar = std::string(kernels.name) == "scalar";
  const OnednnPlugin *plugin = scalar ? nullptr : find_onednn(&reason);
  if (plugin == nullptr) {
    description = "own blocked product (" + reason + ")";
    return;
  }
  onednn = plugin;
  bool tiles = plugin->start(kernels.name) == 1;
  on_tiles = tiles && std::string(kernels.name) == "amx";
  const int *version = plugin->library_version;
  description = "oneDNN " + std::to_string(version[0]) + "." + std::to_string(version[1]) + "." +
                std::to_string(version[2]) + (on_tiles ? ", bf16 on AMX" : ", f32 panels");
}

void Matmul::State::add_bias(const Job &job, const Part &part) {
  if (job.bias == nullptr) return;
  for (int t = part.token; t < part.token + part.tokens; ++t) {
    kernels.add(job.y + t * job.y_stride + part.row, job.bias + part.row, part.rows);
  }
}

// ---- few rows of x ------------------------------------------------------------------------------------

void Matmul::State::stream_part(const Job &job, const Part &part) {
  int columns = job.w.columns, stride = static_cast<int>(job.y_stride);
  for (int done = 0; done < part.tokens; done += kMatvecBatch) {
    int token = part.token + done, batch = std::min(kMatvecBatch, part.tokens - done);
    const float *x = job.x + int64_t{token} * columns;
    float *y = job.y + token * job.y_stride + part.row;
    if (job.w.is_f32) {
      kernels.matvec_f32(job.f32(part.row), x, columns, y, stride, part.rows, columns, batch);
    } else {
      kernels.matvec_bf16(job.bf16(part.row), x, columns, y, stride, part.rows, columns, batch);
    }
  }
  add_bias(job, part);
}

void Matmul::State::stream(const Job &job) {
  int64_t row_bytes = int64_t{job.w.columns} * (job.w.is_f32 ? 4 : 2);
  int rows = static_cast<int>(std::clamp<int64_t>(kStreamBytes / std::max<int64_t>(row_bytes, 1), 16, 1024));
  int most = ceil_div(job.w.rows, team.size() * kChunksPerThread);
  rows = std::min(rows, std::max(16, round_up(most, 16)));
  const int chunks = ceil_div(job.w.rows, rows);
  shares.divide(chunks);
  auto body = [&](int, int thread) {
    int row = shares.claim(thread) * rows;
    stream_part(job, {row, std::min(rows, job.w.rows - row), 0, job.tokens});
  };
  team.run(chunks, body);
}

// ---- many rows of x -----------------------------------------------------------------------------------

bool Matmul::State::f32_part(const Job &job, const Part &part, int thread) {
  int columns = job.w.columns;
  const float *w = job.w.is_f32 ? job.f32(part.row) : panel(thread);
  if (!job.w.is_f32) kernels.bf16_to_f32(job.bf16(part.row), panel(thread), int64_t{part.rows} * columns);
  const float *x = job.x + int64_t{part.token} * columns;
  float *y = job.y + part.token * job.y_stride + part.row;
  return onednn->multiply_f32(x, columns, w, columns, y, static_cast<int>(job.y_stride), part.tokens,
                              part.rows, columns) == 0;
}

// The padded tokens are multiplied in pieces of 512, 256, .. 32: few different numbers, so few compilations.
bool Matmul::State::bf16_part(const Job &job, const Part &part, int thread) {
  int left = part.tokens, token = part.token;
  while (left > 0) {
    int piece = kTokenBlock;
    while (piece > kTokenQuantum && piece > left) piece /= 2;
    const uint16_t *x = x_bf16 + int64_t{token} * job.w.columns;
    if (onednn->multiply_bf16(x, job.bf16(part.row), product(thread), piece, part.rows, job.w.columns,
                              panel(thread), panel_bytes) != 0) {
      return false;
    }
    int real = std::min(piece, left);
    for (int t = 0; t < real; ++t) {
      std::memcpy(job.y + (token + t) * job.y_stride + part.row, product(thread) + int64_t{t} * part.rows,
                  part.rows * sizeof(float));
    }
    token += real;
    left -= real;
  }
  return true;
}

void Matmul::State::own_part(const Job &job, const Part &part, int thread) {
  int columns = job.w.columns, stride = static_cast<int>(job.y_stride);
  const float *x = job.x + int64_t{part.token} * columns;
  float *y = job.y + part.token * job.y_stride + part.row;
  if (job.w.is_f32) {
    kernels.gemm_f32(x, columns, job.f32(part.row), columns, y, stride, part.tokens, part.rows, columns,
                     panel(thread));
  } else {
    kernels.gemm_bf16(x, columns, job.bf16(part.row), columns, y, stride, part.tokens, part.rows, columns,
                      panel(thread));
  }
}

void Matmul::State::block_part(const Job &job, const Part &part, int thread) {
  bool done = false;
  if (on_tiles && !job.w.is_f32) done = bf16_part(job, part, thread);
  if (!done && onednn != nullptr) done = f32_part(job, part, thread);
  if (!done) own_part(job, part, thread);
  add_bias(job, part);
}

void Matmul::State::round_x(const Job &job) {
  int64_t columns = job.w.columns;
  auto body = [&](int chunk, int) {
    int first = chunk * kTokenQuantum, last = std::min(first + kTokenQuantum, job.tokens);
    kernels.f32_to_bf16(job.x + first * columns, x_bf16 + first * columns, (last - first) * columns);
    int64_t padding = (first + kTokenQuantum - last) * columns;
    std::memset(x_bf16 + last * columns, 0, padding * sizeof(uint16_t));
  };
  team.run(ceil_div(job.tokens, kTokenQuantum), body);
}

void Matmul::State::block(const Job &job) {
  if (on_tiles && !job.w.is_f32) round_x(job);
  int panels = ceil_div(job.w.rows, kPanelRows);
  int tokens = kTokenBlock;
  while (tokens > kLeastTokenBlock &&
         panels * ceil_div(job.tokens, tokens) < team.size() * kChunksPerThread) {
    tokens /= 2;
  }
  auto body = [&](int chunk, int thread) {
    int row = chunk % panels * kPanelRows, token = chunk / panels * tokens;
    block_part(job,
               {row, std::min(kPanelRows, job.w.rows - row), token, std::min(tokens, job.tokens - token)},
               thread);
  };
  team.run(panels * ceil_div(job.tokens, tokens), body);
}

// ---- the class ------------------------------------------------------------------------------------------

Matmul::Matmul(ThreadTeam &team, const Kernels &kernels, int max_tokens, int max_rows, int max_columns,
               bool deterministic)
    : state_(new State{.team = team, .kernels = kernels, .deterministic = deterministic}) {
  State &state = *state_;
  state.thread_stride = thread_bytes(max_columns);
  state.panel_bytes = int64_t{kPanelRows} * (max_columns + kPanelSlack) * sizeof(float);
  int64_t bytes = workspace_bytes(team.size(), max_tokens, max_rows, max_columns);
  state.scratch.reset(static_cast<char *>(::operator new[](bytes, std::align_val_t{kAlignment})));
  state.x_bf16 = reinterpret_cast<uint16_t *>(state.scratch.get() + team.size() * state.thread_stride);
  state.choose_library();
}

Matmul::~Matmul() = default;

void Matmul::multiply(const WeightMatrix &w, const float *x, int tokens, const float *bias, float *y,
                      int y_stride) {
  Job job{w, x, tokens, bias, y, y_stride};
  const int most_streamed = state_->on_tiles && !w.is_f32 ? kStreamBeforeTiles : kMatvecBatch;
  if (tokens <= most_streamed || state_->deterministic) {
    state_->stream(job);
  } else {
    state_->block(job);
  }
}

const char *Matmul::description() const { return state_->description.c_str(); }

int64_t Matmul::workspace_bytes(int threads, int max_tokens, int max_rows, int max_columns) {
  static_cast<void>(max_rows);
  int64_t x = int64_t{round_up(max_tokens, kTokenQuantum)} * max_columns * sizeof(uint16_t);
  return threads * thread_bytes(max_columns) + x;
}

}  // namespace sounder
