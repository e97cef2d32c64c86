// SPDX-License-Identifier: Apache-2.0
#include "format.h"

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "../contexts.h"
#include "../failure.h"
#include "sounder.h"
#include "xxh64.h"

namespace sounder {

namespace {

constexpr int64_t kLongestHeader = int64_t{128} << 20;  // 2^24 tokens, the longest context, take half of it

constexpr const char *kFigureNames[kSavedFigureCount] = {"layers",
                                                         "KV heads",
                                                         "dimensions a head",
                                                         "bytes a KV value",
                                                         "tokens a block",
                                                         "tokens in the vocabulary",
                                                         "dimensions under RoPE",
                                                         "bits a sketched dimension",
                                                         "as the centring of sketches",
                                                         "as the seed of sketches",
                                                         "tokens a page with bounds"};

struct Figures {
  int32_t values[kSavedFigureCount];
};

Figures figures_of(const ModelConfig &c) {
  const bool indexed = c.sampling_layers() > 0;
  const int bits = indexed ? c.sketch_bits : 0;
  Figures f{};
  f.values[kSavedLayers] = c.layers;
  f.values[kSavedKvHeads] = c.kv_heads;
  f.values[kSavedHeadDim] = c.head_dim;
  f.values[kSavedValueBytes] = c.value_bytes();
  f.values[kSavedBlockTokens] = kBlockTokens;
  f.values[kSavedVocabulary] = c.vocabulary;
  f.values[kSavedRopeDims] = c.rope_dims;
  f.values[kSavedSketchBits] = bits;
  f.values[kSavedSketchCentring] = bits > 0 ? c.sketch_centring : 0;
  f.values[kSavedIndexSeed] = bits > 0 ? static_cast<int32_t>(c.index_seed) : 0;
  f.values[kSavedQuestPage] = indexed ? c.quest_page : 0;
  return f;
}

bool layer_is_indexed(const ModelConfig &c, int layer) {
  return record_bytes(c.index_shape()) > 0 && c.layer_samples(layer);
}

int64_t aligned(int64_t bytes) { return (bytes + kSavedAlignment - 1) / kSavedAlignment * kSavedAlignment; }

// Puts values in a header that is long enough.
template <typename T>
void put(uint8_t *&at, const T *values, size_t count) {
  if (count > 0) std::memcpy(at, values, count * sizeof(T));
  at += count * sizeof(T);
}

// Takes values off a header whose length was checked.
template <typename T>
std::vector<T> taken(const uint8_t *&at, size_t count) {
  std::vector<T> values(count);
  if (count > 0) std::memcpy(values.data(), at, count * sizeof(T));
  at += count * sizeof(T);
  return values;
}

uint64_t checksum_of(const std::vector<uint8_t> &header) {
  constexpr size_t place = offsetof(SavedHead, header_checksum), after = place + sizeof(uint64_t);
  const uint64_t zero = 0;
  Xxh64 hash;
  hash.add(header.data(), place);
  hash.add(&zero, sizeof zero);
  hash.add(header.data() + after, header.size() - after);
  return hash.value();
}

[[noreturn, gnu::format(printf, 2, 3)]] void refuse(const std::string &path, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char reason[512];
  std::vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  fail(SOUNDER_INVALID, "Cannot use the saved context %s: %s", path.c_str(), reason);
}

void require_same_model(const std::string &path, const SavedHead &head, const ModelConfig &config,
                        const SavedIdentity &identity) {
  const Figures own = figures_of(config);
  for (int i = 0; i < kSavedFigureCount; ++i) {
    if (head.figures[i] != own.values[i])
      refuse(path, "it was saved with %d %s, this engine has %d.", head.figures[i], kFigureNames[i],
             own.values[i]);
  }
  if (std::memcmp(head.identity.model, identity.model, kHashBytes) != 0)
    refuse(path, "it was saved with another model.");
  if (std::memcmp(head.identity.tokenizer, identity.tokenizer, kHashBytes) != 0)
    refuse(path, "it was saved with another tokenizer.");
  if (head.rope_scale != config.rope_scale)
    refuse(path, "it was saved with RoPE scaled by %g, this engine scales by %g.",
           static_cast<double>(head.rope_scale), static_cast<double>(config.rope_scale));
}

void require_same_rope(const std::string &path, const std::vector<float> &saved,
                       const std::vector<float> &own) {
  for (size_t i = 0; i < own.size(); ++i) {
    if (saved[i] != own[i])
      refuse(path, "it was saved with RoPE frequency %zu of %g, this engine has %g.", i,
             static_cast<double>(saved[i]), static_cast<double>(own[i]));
  }
}

void require_tokens(const std::string &path, const SavedHead &head, const std::vector<int32_t> &tokens,
                    const ModelConfig &config) {
  const bool sampled_from_fits = head.sampled_from == Context::kNeverSampled ||
                                 (head.sampled_from >= 0 && head.sampled_from < head.tokens);
  bool fits = sampled_from_fits && head.last_sampled >= -1 && head.last_sampled < config.vocabulary;
  for (int32_t token : tokens) fits = fits && token >= 0 && token < config.vocabulary;
  if (!fits) refuse(path, "its header contradicts itself.");
}

}  // namespace

SavedPlan::SavedPlan(const ModelConfig &c, int64_t tokens, int64_t note_bytes) {
  blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
  full_blocks = tokens / kBlockTokens;
  row_bytes = int64_t{c.layers} * c.kv_heads * kBlockTokens * 2 * c.head_dim * c.value_bytes();
  int64_t indexed = 0;
  for (int layer = 0; layer < c.layers; ++layer) indexed += layer_is_indexed(c, layer) ? 1 : 0;
  record_bytes = indexed * c.kv_heads * sounder::record_bytes(c.index_shape());
  header_bytes = aligned(static_cast<int64_t>(sizeof(SavedHead)) + 4 * int64_t{c.rope_pairs()} + c.layers +
                         note_bytes + 4 * tokens);
  checksums_place = header_bytes + blocks * row_bytes + full_blocks * record_bytes;
  file_bytes = checksums_place + blocks * static_cast<int64_t>(sizeof(uint64_t));
}

std::vector<uint8_t> encode_header(const ModelConfig &config, const SavedContext &context) {
  const SavedPlan plan(config, static_cast<int64_t>(context.tokens.size()),
                       static_cast<int64_t>(context.note.size()));
  SavedHead head{};
  std::memcpy(head.magic, kSavedMagic, sizeof head.magic);
  head.version = kSavedVersion;
  head.header_bytes = static_cast<uint32_t>(plan.header_bytes);
  head.file_bytes = plan.file_bytes;
  head.identity = context.identity;
  const Figures figures = figures_of(config);
  std::memcpy(head.figures, figures.values, sizeof head.figures);
  head.rope_scale = config.rope_scale;
  head.sampled_from = context.sampled_from;
  head.last_sampled = context.last_sampled;
  head.note_bytes = static_cast<int32_t>(context.note.size());
  head.tokens = static_cast<int32_t>(context.tokens.size());

  std::vector<uint8_t> header(static_cast<size_t>(plan.header_bytes));
  uint8_t *at = header.data();
  put(at, &head, 1);
  put(at, config.rope_frequencies.data(), config.rope_frequencies.size());
  for (int layer = 0; layer < config.layers; ++layer) *at++ = layer_is_indexed(config, layer) ? 1 : 0;
  put(at, context.note.data(), context.note.size());
  put(at, context.tokens.data(), context.tokens.size());
  const uint64_t checksum = checksum_of(header);
  std::memcpy(header.data() + offsetof(SavedHead, header_checksum), &checksum, sizeof checksum);
  return header;
}

int64_t header_bytes_of(const std::string &path, const SavedHead &head, int64_t file_bytes) {
  if (std::memcmp(head.magic, kSavedMagic, sizeof head.magic) != 0) refuse(path, "it is no saved context.");
  if (head.version != kSavedVersion)
    refuse(path, "it has version %u of the format, this engine reads version %u.", head.version,
           kSavedVersion);
  if (head.header_bytes < sizeof(SavedHead) || head.header_bytes > kLongestHeader)
    refuse(path, "its header is damaged.");
  if (head.header_bytes > file_bytes) refuse(path, "it ends inside its header.");
  return head.header_bytes;
}

SavedContext decode_header(const std::string &path, const std::vector<uint8_t> &header, int64_t file_bytes,
                           const ModelConfig &config, const SavedIdentity &identity) {
  SavedHead head;
  std::memcpy(&head, header.data(), sizeof head);
  if (checksum_of(header) != head.header_checksum)
    refuse(path, "its header is damaged: the checksum is wrong.");
  require_same_model(path, head, config, identity);
  if (head.tokens < 0 || head.note_bytes < 0) refuse(path, "its header contradicts itself.");
  const SavedPlan plan(config, head.tokens, head.note_bytes);
  if (plan.header_bytes != head.header_bytes) refuse(path, "its header contradicts itself.");

  const uint8_t *at = header.data() + sizeof head;
  require_same_rope(path, taken<float>(at, config.rope_frequencies.size()), config.rope_frequencies);
  const std::vector<uint8_t> indexed = taken<uint8_t>(at, static_cast<size_t>(config.layers));
  for (int layer = 0; layer < config.layers; ++layer) {
    if (indexed[static_cast<size_t>(layer)] != layer_is_indexed(config, layer))
      refuse(path, "layer %d was saved %s an index, this engine has it the other way.", layer,
             indexed[static_cast<size_t>(layer)] != 0 ? "with" : "without");
  }
  const std::vector<char> note = taken<char>(at, static_cast<size_t>(head.note_bytes));
  SavedContext context{head.identity, taken<int32_t>(at, static_cast<size_t>(head.tokens)), head.sampled_from,
                       head.last_sampled, std::string(note.begin(), note.end())};
  require_tokens(path, head, context.tokens, config);
  if (plan.file_bytes != head.file_bytes) refuse(path, "its header contradicts itself.");
  if (file_bytes != head.file_bytes)
    refuse(path, "it has %lld bytes and should have %lld.", static_cast<long long>(file_bytes),
           static_cast<long long>(head.file_bytes));
  return context;
}

}  // namespace sounder
