// SPDX-License-Identifier: Apache-2.0
//
// The loops of lsh: keys and queries become codes, and buckets become lists of keys. One table of kernels for
// each instruction level, named like those of Kernels. Pointers need no alignment beyond their type's.
#pragma once

#include <cstdint>

namespace sounder {

constexpr int kLshMostKeys = 32768;  // of a retrieval: ids of 16 bits
constexpr int kLshPanel = 32;        // projections that lie side by side

// Projections in panels: value k of projection p lies at
// ((p / kLshPanel) * head_dim + k) * kLshPanel + p % kLshPanel; those beyond the last are zero.
constexpr int lsh_panels(int projections) { return (projections + kLshPanel - 1) / kLshPanel; }
constexpr int64_t lsh_projection_floats(int projections, int head_dim) {
  return int64_t{lsh_panels(projections)} * head_dim * kLshPanel;
}
// Sign bits of so many vectors, a row of words each, and one word for reading past the last row.
constexpr int lsh_sign_words(int projections, int vectors) { return vectors * lsh_panels(projections) + 1; }

// A key that lies closer to the mean than this share of the mean's size counts as the mean itself: scores
// are too coarse to tell what angle the difference has.
constexpr float kLshLeastDistance = 1.0f / 4096;
// Vectors shorter than this count as zero, so that inverse norms stay finite.
constexpr float kLshLeastNorm = 1e-18f;

struct LshHashTask {
  const float *x;  // [vectors][head_dim]
  int vectors, head_dim;
  const float *projections;
  int bits, tables;
  uint16_t *codes;       // the code of vector i in table t goes to codes[t * code_stride + i]
  int64_t code_stride;   // ≥ vectors
  uint32_t *sign_words;  // lsh_sign_words(bits * tables, vectors) of scratch
};

constexpr int kLshMostTables = 1000;  // of SOUNDER_CONFIG_LSH_TABLES
constexpr int kLshMostHeads = 4;      // whose keys are retrieved at once

// What some query heads find in a segment of tables. Starts and ids may be read to the ends of the cache
// lines that they share with others' memory.
struct LshRetrieveTask {
  // Of table t: starts + t * (2^bits + 1), where the ids of each code begin and the last ones end, and
  // ids + t * keys, grouped by code.
  const uint16_t *starts, *ids;
  int bits, tables;
  int keys;               // a multiple of 64, ≤ kLshMostKeys
  const uint16_t *codes;  // of head i in table t: codes[t * code_stride + i]
  int code_stride;
  int heads;          // ≤ kLshMostHeads
  int collisions;     // 1 to 3: tables in which a key must share the code
  int from, until;    // ids to return: [from, until)
  int first_key;      // the key of id 0
  uint8_t *counters;  // [kLshMostKeys] zeros, before and after, aligned to 64 bytes
  // What the caller reads next, if anything: it comes to the second cache while ids are counted.
  const void *next;
  int next_bytes;
  struct {
    int32_t *keys;  // [until - from], ascending
    int count;
  } found[kLshMostHeads];
};

struct LshKernels {
  const char *name;
  // x[i] = row i - mean, or zero where they are as good as equal; inverse_norms[i] = bf16 of 1 / |x[i]|, 0
  // for zero. rows: K of each key, row_stride values apart.
  void (*centre_bf16)(const uint16_t *rows, int64_t row_stride, int count, int head_dim, const float *mean,
                      float *x, uint16_t *inverse_norms);
  void (*centre_f32)(const float *rows, int64_t row_stride, int count, int head_dim, const float *mean,
                     float *x, uint16_t *inverse_norms);
  // Bit k of a code in table t is set when the projection t * bits + k is over 0.
  void (*hash)(const LshHashTask &task);
  void (*retrieve)(LshRetrieveTask &task);
};

// The table of the level of this name; nullptr if this build has none.
const LshKernels *lsh_kernels(const char *level);

}  // namespace sounder
