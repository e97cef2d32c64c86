// SPDX-License-Identifier: Apache-2.0
//
// The file of a saved context. Little-endian, layout of the host's memory whatever computes:
//
//   header     SavedHead, then
//                rope_frequencies  float[rope_dims / 2]
//                indexed           uint8[layers], 1: the layer's blocks have index records
//                note              uint8[note_bytes], the caller's
//                tokens            int32[tokens]
//              and zeros up to a multiple of 4096
//   blocks     ceil(tokens / 128), in order, for each layer
//                rows     [KV heads][128][K | V] as in kv_blocks.h; zeros after the last token
//                records  [KV heads] as in sampled/index.h; only of full blocks of indexed layers
//   checksums  XXH64 of each block
//
// lsh tables are not kept: (10, 150) takes 300 bytes a key and KV head beside 512 of KV (head dim 128), they
// belong to one --index, and they follow from the keys; the first step that asks for them hashes the keys
// again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../model.h"

namespace sounder {

constexpr char kSavedMagic[8] = {'S', 'o', 'u', 'n', 'd', 'e', 'r', '\0'};
constexpr uint32_t kSavedVersion = 1;
constexpr int64_t kSavedAlignment = 4096;
constexpr int kHashBytes = 32;

// Which weights and which tokenizer, as the caller tells them apart: SHA-256 of what decides.
struct SavedIdentity {
  uint8_t model[kHashBytes], tokenizer[kHashBytes];
};

// What must be the same for blocks to be usable. Figures of an index that is not there are 0.
enum SavedFigure {
  kSavedLayers,
  kSavedKvHeads,
  kSavedHeadDim,
  kSavedValueBytes,
  kSavedBlockTokens,
  kSavedVocabulary,
  kSavedRopeDims,
  kSavedSketchBits,
  kSavedSketchCentring,
  kSavedIndexSeed,
  kSavedQuestPage,
  kSavedFigureCount
};

struct SavedHead {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  uint64_t header_checksum;  // XXH64 of the header with 0 in this place
  int64_t file_bytes;
  SavedIdentity identity;
  int32_t figures[kSavedFigureCount];
  float rope_scale;
  int32_t sampled_from;  // as in Context
  int32_t last_sampled;
  int32_t note_bytes;
  int32_t tokens;
};
static_assert(sizeof(SavedHead) == 160);

// What a header says, beside what describes the engine.
struct SavedContext {
  SavedIdentity identity;
  std::vector<int32_t> tokens;
  int32_t sampled_from;
  int32_t last_sampled;
  std::string note;
};

// Where things lie in the file of a context with so many tokens.
struct SavedPlan {
  SavedPlan(const ModelConfig &config, int64_t tokens, int64_t note_bytes);
  // Blocks, all and full ones; bytes of a block without its records, and of the records.
  int64_t blocks, full_blocks, row_bytes, record_bytes;
  int64_t header_bytes, checksums_place, file_bytes;

  int64_t block_bytes(int64_t block) const { return row_bytes + (block < full_blocks ? record_bytes : 0); }
};

std::vector<uint8_t> encode_header(const ModelConfig &config, const SavedContext &context);

// Bytes of the header that starts with this head. Fails with SOUNDER_INVALID when it is no saved context, of
// another version or longer than one can be. path is for the sentence, here and below.
int64_t header_bytes_of(const std::string &path, const SavedHead &head, int64_t file_bytes);

// Checks all of a header and that its blocks fit the engine. Fails with SOUNDER_INVALID and says what
// differs.
SavedContext decode_header(const std::string &path, const std::vector<uint8_t> &header, int64_t file_bytes,
                           const ModelConfig &config, const SavedIdentity &identity);

}  // namespace sounder
