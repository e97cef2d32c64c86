// SPDX-License-Identifier: Apache-2.0
//
// Sampled attention on a GPU: one query token each of some contexts, at one layer.
// The index lies in the GPU's memory; rows [K | V] of bf16 may lie in pinned host memory and are read from
// there by the kernels; sink and tail, which every token reads, lie in the GPU's memory. No step needs the
// host, and what changes from token to token lies in device memory, so that one captured graph serves all
// tokens.
//
//   prepare   q, k, v after the projections → q and k turned by RoPE, rows appended, queries for the scan
//   look      the strategy (strategies.h) reads its index, or keys; sink and tail exactly, beside it
//   choose    the rows that are read, in order, and what they weigh
//   attend    these rows, merged with sink and tail
//
// With sketches, and from the second step on with scores of the oracle:
//
//   scan      sketches → integer scores, and the greatest of each segment
//   weigh     what the scores of a segment weigh
//   combine   thresholds of the heads; u, by which rows are drawn, and its histogram
//   draw      the threshold of the budget, and the rows under it
//
// Scores, thresholds, draws and records are the integers of the CPU's kernels (../../sampled): the same seed
// reads the same rows on both. (Head thresholds round a sum of doubles whose order differs, and so do true
// scores a sum of floats.)
#pragma once

#include <cstdint>

#include "../../sampled/draw.h"
#include "../../sampled/index.h"
#include "../../sampled/lsh_signature.h"

namespace sounder::cuda {

struct Launcher;

constexpr int kMostGroup = 128;  // query heads of a KV head
constexpr int kMostSlice = 8;    // of these, that one thread block serves
constexpr int kMostSlices = 32;
constexpr int kMostSegmentsHere = 32;  // kMostSegments of strategy.h
constexpr int kNearParts = 8;          // blocks that share sink and tail of a query and KV head
constexpr int kChunkKeys = 2048;       // keys that one block of `combine` and `choose` looks at

struct SketchShape {
  int heads, kv_heads, head_dim, bits;
  LshSignature signature{};
  constexpr int group() const { return heads / kv_heads; }
  // A group's heads are cut into slices of at most so many, which read sketches and rows by themselves; all
  // slices but the last have heads_of_slice().
  constexpr int most_of_slice() const { return head_dim > 128 ? kMostSlice / 2 : kMostSlice; }
  constexpr int slices() const {
    return head_dim > 128 ? (group() + kMostSlice / 2 - 1) / (kMostSlice / 2)
                          : (group() + kMostSlice - 1) / kMostSlice;
  }
  constexpr int heads_of_slice() const { return (group() + slices() - 1) / slices(); }
};
// Head dims of most models have kernels of their own, for 1 and 2 bits; others share kernels that are slower.
constexpr bool is_own_dim(int head_dim) { return head_dim == 64 || head_dim == 128; }
// False: the kernels that attend have no such shape, and launching them throws. Rows are read 16 bytes at a
// time.
constexpr bool has_attend_kernels(const SketchShape &shape) {
  return shape.head_dim > 0 && shape.head_dim <= 256 && shape.head_dim % 8 == 0 && shape.kv_heads > 0 &&
         shape.heads % shape.kv_heads == 0 && shape.group() <= kMostGroup;
}
constexpr bool has_sketch_kernels(const SketchShape &shape) {
  return has_attend_kernels(shape) && (shape.bits == 1 || shape.bits == 2 || shape.bits == 4);
}
// Of the strategies that look at each key or page.
constexpr bool has_word_kernels(const SketchShape &shape) {
  return has_attend_kernels(shape) && shape.group() <= kMostSlice;
}
// Whether `prepare` turns pairs of dimensions: partners are whole lanes apart.
constexpr bool can_turn(int head_dim, int pairs) {
  return is_own_dim(head_dim) && pairs % (head_dim / 32) == 0;
}

// One query token, which has keys to choose from: begin < end, budget < end - begin. Lies in device memory.
struct SampledQuery {
  const int32_t *blocks;       // ids in the slabs of rows and of records
  const int32_t *near_blocks;  // ids in the slab of near rows: those of the sink, and from end / 128 on
  const int32_t *signatures;   // of lsh: their places, for each 128 keys before end
  uint64_t seed;               // SampledParams::seed
  int32_t row;                 // of the step: of NewRows and of what comes out
  int32_t statistics;          // its place in SampledStep::statistics; -1: nobody asks
  int32_t verify;              // 1: the exact result is computed beside it, for launch_verify
  int32_t position;            // attends keys 0 .. position, its own the last
  int32_t begin, end, budget;  // sampled_range
  int32_t segment_keys;        // as in StrategyView
  uint32_t beta_shrink;        // round(65536 / beta)
  float beta;                  // 1 for true scores
  int32_t draws;               // of the oracle, independent ones
  int32_t collisions;          // of lsh: tables that must agree on a key, 1 to kMostCollisions
};
constexpr int kMostCollisions = 3;

// What does not change with layers or tokens; lies in device memory.
struct SketchConstants {
  DrawTable draw;
  float signs[2 * 256];  // rotation_signs
};

// How a scan takes the bytes of a key's planes, its slots: 16 in a round, at most two rounds in a pass, and a
// pass from one pair of planes alone. Slot s of a pair is plane s / groups of the pair, group s % groups.
constexpr int kSlotsOfRound = 16;
struct SketchPasses {
  int slots;   // of a pair of planes, or of the only plane
  int rounds;  // of a pass
  int passes;  // of a pair
  int pairs;
  constexpr SketchPasses(int head_dim, int bits)
      : slots((bits == 1 ? 1 : 2) * head_dim / 8),
        rounds(slots > kSlotsOfRound ? 2 : 1),
        passes((slots + 2 * kSlotsOfRound - 1) / (2 * kSlotsOfRound)),
        pairs(bits == 4 ? 2 : 1) {}
  constexpr int all() const { return passes * pairs; }
};
// One word a lane for each bit of a byte, round and pass.
constexpr int fragment_words(const SketchPasses &p) { return p.all() * p.rounds * 8 * 32; }
// Of a sampled state (../../sampled/gather.h).
constexpr int state_floats(int head_dim) { return head_dim + 5; }

struct ChosenRow {
  int32_t key;
  int32_t distance;  // of DrawTable; with DeviceStrategy::by_head 0
};

// Device memory that the kernels work in, for each query and KV head.
struct SampledMemory {
  uint32_t *fragments;  // [slices] q5 as the tensor cores want it
  int16_t *q11;         // [group][head_dim]
  float *figures;       // [group][4] gain, spread, base_gain, centre; of lsh unit and q·μ;
                        // of draws -, one_draw
  int16_t *scores;      // [group][keys]
  int16_t *combined;    // [keys]
  int32_t *maxima;      // [group][segments]
  uint64_t *weights;    // [group][segments]
  uint32_t *histogram;  // [kHistogramBins]
  int32_t *thresholds;  // [kMostGroup + 2] the heads'; then the score of bin 0, and the draw's
  int32_t *counts;      // [chunks] rows that are read
  ChosenRow *chosen;    // [keys] those of chunk c from c * kChunkKeys on
  float *exact;         // [kNearParts][group] sampled states of sink and tail
  float *states;        // [splits + kNearParts][group] sampled states
  uint32_t *finished;   // [kMostSlices + 1] blocks of attend, and the last of combine, that are done
  float *q;             // [queries][heads][head_dim] after RoPE
  float *zeros;         // [group] log2 of what a score of 0 stands for
  // Where place_words gave them room, otherwise nullptr: what a strategy has of each key and head, and
  // finally of those that are chosen -log2 P as float32, infinitely little where this head does not choose
  // the key.
  uint32_t *words;       // [keys / kChunkKeys][group][kChunkKeys]
  uint64_t *chunk_sums;  // [group][keys / kChunkKeys]
  uint64_t *stops;       // [group]
  int32_t *greatest;     // [group] true score of the best key (as_ordered)
  int32_t *head_keys;    // [group] keys that a head chose
  uint32_t *codes;       // [planes][group] of lsh: the queries' signatures
  int64_t keys;          // most of a context, a multiple of kChunkKeys
  int splits;            // of a KV head's chosen rows, in attend
};
// Thread blocks of `attend` in all, unless there are more queries' KV heads.
constexpr int kMostAttendBlocks = 512;
// With memory = nullptr only the sizes are set. Returns the bytes, which grow with the queries alone.
int64_t place_sampled(const SketchShape &shape, int queries, int context, int multiprocessors, char *memory,
                      SampledMemory *places);
// Likewise the words, behind that.
int64_t place_words(const SketchShape &shape, int queries, char *memory, SampledMemory *places);

struct HeadRange {
  int first, end;
  constexpr int count() const { return end - first; }
};

struct SampledStep;

// How rows are chosen, between launch_prepare and launch_attend. The list of them is in strategies.cpp.
struct DeviceStrategy {
  int attention;   // enum sounder_attention
  bool has_draws;  // SampledParams::draws
  bool scans;      // queries are quantised for the scan of sketches
  bool has_words;  // works in SampledMemory::words
  bool by_head;    // each head chooses: what rows weigh is in the words
  // It follows from their scores: in the words are inverse norms, as in CollisionWeight of gather.h.
  bool by_collision;
  // Bandwidth's part, sink and tail with it, and the rest: other KV heads' rows come over the bus beside it.
  void (*look)(const Launcher &, const SampledStep &);
  void (*choose)(const Launcher &, const SampledStep &);
};

struct SampledStep {
  SketchShape shape;
  DeviceStrategy strategy;  // of all queries
  int queries;
  HeadRange served;  // KV heads that the kernels after `prepare` attend
  int context;       // no query's position is beyond it: grids are made for it
  int layer;
  const SampledQuery *query;  // [queries]
  const SketchConstants *constants;
  SampledMemory memory;
  // Block b, KV head h, token t: row at ((b * kv_heads + h) * 128 + t) * 2 * head_dim.
  const uint16_t *rows;
  const uint16_t *near_rows;
  const char *records;  // of block b and KV head h at (b * kv_heads + h) * record_stride
  int64_t record_stride;
  int quest_page;  // of the bounds in them; 0: there are none
  // Of lsh (../../sampled/lsh_signature.h): of place p and KV head h at (p * kv_heads + h) *
  // shape.signature.bytes().
  const char *signatures;
  const float *projections;  // lsh_plane_projections
  const float *collisions;   // [kMostCollisions][kCollisionPoints + 1] make_collision_offsets
  // What comes out, [rows][heads * head_dim]: one of the two, the other nullptr.
  float *output;
  uint16_t *narrow_output;  // bf16
  // [places][heads][kStatistics], added to: rows read by the group, 1 / effective samples, squared error,
  // that of verify, keys read by the head.
  float *statistics;
};
constexpr int kStatistics = 5;

// The new tokens' q, k and v as the product made them. RoPE turns dimension i with i + pairs; beyond 2 *
// pairs nothing is turned.
struct NewRows {
  const float *qkv;              // [rows][(heads + 2 * kv_heads) * head_dim]
  const float *cosines, *sines;  // [rows][pairs]
  int pairs;
  const float *bias;             // [(heads + 2 * kv_heads) * head_dim] or nullptr
  const float *q_norm, *k_norm;  // [head_dim] or nullptr
  float epsilon;
  bool is_done;    // all that and appending were done before: q is taken as it is
  uint16_t *rows;  // as SampledStep::rows, writable; nullptr: they lie in near_rows alone
  uint16_t *near_rows;
};

void launch_prepare(const Launcher &launcher, const SampledStep &step, const NewRows &rows);
void launch_scan(const Launcher &launcher, const SampledStep &step);
void launch_weigh(const Launcher &launcher, const SampledStep &step);
void launch_combine(const Launcher &launcher, const SampledStep &step);
void launch_draw(const Launcher &launcher, const SampledStep &step);
// Sink and tail alone, where no scan has them beside it.
void launch_near(const Launcher &launcher, const SampledStep &step);
void launch_attend(const Launcher &launcher, const SampledStep &step);
// All of them. With branches of the launcher the served heads of long contexts are attended in parts: while
// the rows of one part come over the bus, sketches of the next one are scanned.
void launch_sampled_attention(const Launcher &launcher, const SampledStep &step, const NewRows &rows);

// Of queries with `verify`: the squared relative difference of what came out and of `exact`, likewise bf16
// [rows][heads * head_dim], added to their statistics for each head.
void launch_verify(const Launcher &launcher, const SampledStep &step, const uint16_t *exact);

// All keys, exactly: those that come after `prepare`, with rows from near_rows, for layers that do not
// sample. Of head dims 64 and 128.
void launch_exact_attention(const Launcher &launcher, const SampledStep &step);

// ---- sealing -------------------------------------------------------------------------------------------

struct SealStep {
  IndexShape shape;
  int kv_heads;
  const uint16_t *rows;  // device memory, as SampledStep::rows
  char *records;
  int64_t record_stride;
  const float *signs;         // SketchConstants::signs
  const int32_t *row_blocks;  // [count] blocks of a context, in order: ids in rows' slab
  const int32_t *blocks;      // [count] ids in records' slab
  int first, count;           // the first of them is the context's block `first`
  const int32_t *previous;    // for centring on the context: the record of the block before, if first > 0
};
// Sketches, of rows of bf16.
constexpr bool has_seal_kernels(const IndexShape &shape) {
  return has_sketch_kernels({1, 1, shape.head_dim, shape.sketch_bits}) && !shape.kv_is_f32;
}
void launch_seal(const Launcher &launcher, const SealStep &step);
// Bounds of the pages of the same blocks.
void launch_seal_bounds(const Launcher &launcher, const SealStep &step);

// ---- signatures for lsh --------------------------------------------------------------------------------

struct SignStep {
  LshSignature signature;
  int kv_heads;
  bool centred;
  const uint16_t *rows;       // device memory, as SampledStep::rows
  const int32_t *row_blocks;  // of a context, from its first block on
  const int32_t *places;      // where signatures of these blocks go
  char *signatures;           // as SampledStep::signatures
  const float *projections;   // as SampledStep::projections
  int begin, end;             // keys that get signatures, whole blocks
  int mean_end;               // > 0: the mean of the keys before it comes first
};
void launch_sign(const Launcher &launcher, const SignStep &step);

}  // namespace sounder::cuda
