// SPDX-License-Identifier: Apache-2.0
//
// Contexts to files and back, on the thread of the caller: steps go on meanwhile. A save reads blocks that
// it holds a reference to, and that nobody writes while it does; a restore fills blocks that no context has
// yet.
#include "saved_call.h"

#include <algorithm>
#include <cstring>

#include "engine.h"
#include "failure.h"
#include "saved/file.h"
#include "saved/xxh64.h"
#include "sounder.h"

namespace sounder {

namespace {

constexpr int kLongestPath = 4096;

// What a context was when it was looked at, for as long as this lives.
class Snapshot {
 public:
  Snapshot(std::mutex &mutex, Contexts &contexts, int32_t id, int tokens)
      : mutex_(mutex), contexts_(contexts) {
    std::lock_guard lock(mutex_);
    image_ = contexts_.snapshot(id, tokens);
  }
  ~Snapshot() {
    std::lock_guard lock(mutex_);
    contexts_.give_back(image_.blocks);
  }
  Snapshot(const Snapshot &) = delete;
  Snapshot &operator=(const Snapshot &) = delete;
  ContextImage &operator*() { return image_; }
  ContextImage *operator->() { return &image_; }

 private:
  std::mutex &mutex_;
  Contexts &contexts_;
  ContextImage image_;
};

// Blocks for a context to be; given back unless it became one.
class NewBlocks {
 public:
  NewBlocks(std::mutex &mutex, Contexts &contexts, int count) : mutex_(mutex), contexts_(contexts) {
    std::lock_guard lock(mutex_);
    image_.blocks = contexts_.take_blocks(count);
  }
  ~NewBlocks() {
    std::lock_guard lock(mutex_);
    contexts_.give_back(image_.blocks);
  }
  NewBlocks(const NewBlocks &) = delete;
  NewBlocks &operator=(const NewBlocks &) = delete;

  int64_t count() const { return static_cast<int64_t>(image_.blocks.size()); }
  int32_t operator[](int64_t i) const { return image_.blocks[static_cast<size_t>(i)]; }
  int32_t become_context(SavedContext &saved) {
    image_.tokens = std::move(saved.tokens);
    image_.sampled_from = saved.sampled_from;
    image_.last_sampled = saved.last_sampled;
    std::lock_guard lock(mutex_);
    return contexts_.adopt(image_);
  }

 private:
  std::mutex &mutex_;
  Contexts &contexts_;
  ContextImage image_;
};

uint64_t checksum_of(const std::vector<iovec> &pieces) {
  Xxh64 hash;
  for (const iovec &piece : pieces) hash.add(piece.iov_base, piece.iov_len);
  return hash.value();
}

void write_all(NewFile &file, void *data, size_t bytes) {
  std::vector<iovec> pieces;
  if (bytes > 0) pieces.push_back({data, bytes});
  file.write(pieces);
}

// The header with all that can be checked before a block is read.
SavedContext read_header(const SavedFile &file, const std::string &path, const ModelConfig &config,
                         const SavedIdentity &identity) {
  SavedHead head{};
  if (file.bytes() < static_cast<int64_t>(sizeof head))
    fail(SOUNDER_INVALID, "Cannot use the saved context %s: it ends inside its header.", path.c_str());
  file.read(0, &head, sizeof head);
  std::vector<uint8_t> header(static_cast<size_t>(header_bytes_of(path, head, file.bytes())));
  file.read(0, header.data(), static_cast<int64_t>(header.size()));
  return decode_header(path, header, file.bytes(), config, identity);
}

// Leaves the first tokens of a saved context, those of whole blocks, when it has more.
void cut(SavedContext &saved, int32_t tokens) {
  if (tokens < 0) fail(SOUNDER_INVALID, "Cannot restore %d tokens.", tokens);
  if (static_cast<size_t>(tokens) >= saved.tokens.size()) return;
  const int32_t left = tokens / kBlockTokens * kBlockTokens;
  saved.tokens.resize(static_cast<size_t>(left));
  saved.last_sampled = -1;
  if (left <= saved.sampled_from) saved.sampled_from = Context::kNeverSampled;
}

void read_blocks(const SavedFile &file, const std::string &path, const SavedPlan &plan,
                 const KvBlocks &blocks, const NewBlocks &taken, Transfer &transfer) {
  std::vector<uint64_t> checksums(static_cast<size_t>(plan.blocks));
  file.read(plan.checksums_place, checksums.data(), plan.blocks * int64_t{sizeof(uint64_t)});
  int64_t place = plan.header_bytes;
  std::vector<char> copy;
  for (int64_t i = 0; i < taken.count(); ++i) {
    transfer.at(i, taken.count());
    const std::vector<iovec> pieces = blocks.pieces(taken[i], i < plan.full_blocks, copy);
    std::vector<iovec> unread = pieces;
    file.read(place, unread);
    if (checksum_of(pieces) != checksums[static_cast<size_t>(i)])
      fail(SOUNDER_INVALID, "Cannot use the saved context %s: block %lld of %lld is damaged.", path.c_str(),
           static_cast<long long>(i), static_cast<long long>(plan.blocks));
    blocks.put(taken[i], i < plan.full_blocks, copy);
    place += plan.block_bytes(i);
  }
}

}  // namespace

std::string read_path(const char *what, const uint8_t *path, int32_t path_bytes) {
  if (path == nullptr || path_bytes < 1 || path_bytes > kLongestPath ||
      std::find(path, path + path_bytes, 0) != path + path_bytes) {
    fail(SOUNDER_INVALID, "The path of a %s is missing, has a zero byte or is over %d bytes.", what,
         kLongestPath);
  }
  return {reinterpret_cast<const char *>(path), static_cast<size_t>(path_bytes)};
}

SavedIdentity read_identity(const uint8_t *identity) {
  if (identity == nullptr) fail(SOUNDER_INVALID, "The identity of the model and its tokenizer is missing.");
  SavedIdentity copy;
  std::memcpy(&copy, identity, sizeof copy);
  return copy;
}

LoadedModel &Engine::loaded_now() {
  std::lock_guard lock(mutex_);
  return loaded();
}

void Engine::save_context(const SaveCall &call) {
  LoadedModel &model = loaded_now();
  Transfer transfer(transfers_);
  Snapshot image(mutex_, model.contexts, call.context, call.tokens);
  const SavedPlan plan(model.config, call.tokens, static_cast<int64_t>(call.note.size()));
  std::vector<uint8_t> header = encode_header(
      model.config,
      {call.identity, std::move(image->tokens), image->sampled_from, image->last_sampled, call.note});
  NewFile file(call.path, plan.file_bytes);
  write_all(file, header.data(), header.size());
  std::vector<uint64_t> checksums;
  std::vector<char> copy;
  for (int64_t i = 0; i < plan.blocks; ++i) {
    transfer.at(i, plan.blocks);
    std::vector<iovec> pieces = {{image->tail.data(), image->tail.size()}};
    if (i < plan.full_blocks) {
      const int32_t block = image->blocks[static_cast<size_t>(i)];
      pieces = model.blocks.pieces(block, true, copy);
      model.blocks.fetch(block, true, copy);
    }
    checksums.push_back(checksum_of(pieces));
    file.write(pieces);
  }
  write_all(file, checksums.data(), checksums.size() * sizeof(uint64_t));
  file.commit();
  transfer.finished();
}

int32_t Engine::restore_context(int32_t tokens, const std::string &path, const SavedIdentity &identity) {
  LoadedModel &model = loaded_now();
  Transfer transfer(transfers_);
  SavedFile file(path);
  SavedContext saved = read_header(file, path, model.config, identity);
  const SavedPlan plan(model.config, static_cast<int64_t>(saved.tokens.size()),
                       static_cast<int64_t>(saved.note.size()));
  cut(saved, tokens);
  if (static_cast<int>(saved.tokens.size()) > model.config.context)
    fail(SOUNDER_CONTEXT_FULL,
         "Cannot use the saved context %s: its %zu tokens are over the longest context of %d.", path.c_str(),
         saved.tokens.size(), model.config.context);
  const int wanted = static_cast<int>(saved.tokens.size() + kBlockTokens - 1) / kBlockTokens;
  NewBlocks blocks(mutex_, model.contexts, wanted);
  read_blocks(file, path, plan, model.blocks, blocks, transfer);
  const int32_t context = blocks.become_context(saved);
  transfer.finished();
  return context;
}

void Engine::describe_saved(const std::string &path, const SavedIdentity &identity,
                            const DescriptionOut &out) {
  LoadedModel &model = loaded_now();
  SavedFile file(path);
  const SavedContext saved = read_header(file, path, model.config, identity);
  const int64_t tokens = static_cast<int64_t>(saved.tokens.size());
  out.figures[SOUNDER_SAVED_TOKENS] = tokens;
  out.figures[SOUNDER_SAVED_EXACT] = std::min<int64_t>(tokens, saved.sampled_from);
  out.figures[SOUNDER_SAVED_NOTE_BYTES] = static_cast<int64_t>(saved.note.size());
  out.figures[SOUNDER_SAVED_FILE_BYTES] = file.bytes();
  std::copy_n(saved.note.data(), std::min<int64_t>(out.note_capacity, int64_t(saved.note.size())), out.note);
  std::copy_n(saved.tokens.data(), std::min<int64_t>(out.token_capacity, tokens), out.tokens);
}

}  // namespace sounder
