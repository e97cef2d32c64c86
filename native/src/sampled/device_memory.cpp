// SPDX-License-Identifier: Apache-2.0
//
// How the GPU's kernels of sampled attention cut the memory that they work in: a part of the memory formula
// (../device_workspace.h).
#include <algorithm>

#include "../cuda/sampled/sampled_cuda.h"
#include "draw_kernels.h"

namespace sounder::cuda {

namespace {

template <typename T>
void take(char *&next, int64_t count, T **place) {
  *place = reinterpret_cast<T *>(next);
  next += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
}

}  // namespace

int64_t place_sampled(const SketchShape &shape, int queries, int context, int multiprocessors, char *memory,
                      SampledMemory *places) {
  const int64_t views = int64_t{queries} * shape.kv_heads, group = shape.group(), d = shape.head_dim;
  const int64_t keys = (int64_t{context} + kChunkKeys - 1) / kChunkKeys * kChunkKeys;
  const int64_t state = group * state_floats(shape.head_dim);
  SampledMemory &m = *places;
  m = {};
  m.keys = keys;
  // One block a multiprocessor keeps more rows under way than any bus takes.
  const int64_t blocks = std::min(multiprocessors, kMostAttendBlocks);
  m.splits = static_cast<int>(std::clamp<int64_t>(blocks / views, 1, 64));
  char *next = memory;
  const int64_t slices = shape.slices();
  take(next, views * slices * fragment_words({shape.head_dim, shape.bits}), &m.fragments);
  take(next, views * group * d, &m.q11);
  take(next, views * group * 4, &m.figures);
  take(next, views * group * keys, &m.scores);
  take(next, views * keys, &m.combined);
  take(next, views * group * kMostSegmentsHere, &m.maxima);
  take(next, views * group * kMostSegmentsHere, &m.weights);
  take(next, views * kHistogramBins, &m.histogram);
  take(next, views * (kMostGroup + 2), &m.thresholds);
  take(next, views * (keys / kChunkKeys), &m.counts);
  take(next, views * keys, &m.chosen);
  take(next, views * kNearParts * state, &m.exact);
  take(next, (std::max<int64_t>(views, kMostAttendBlocks) + views * kNearParts) * state, &m.states);
  take(next, views * (kMostSlices + 1), &m.finished);
  take(next, int64_t{queries} * shape.heads * d, &m.q);
  take(next, views * group, &m.zeros);
  return next - memory;
}

int64_t place_words(const SketchShape &shape, int queries, char *memory, SampledMemory *places) {
  const int64_t views = int64_t{queries} * shape.kv_heads, group = shape.group();
  SampledMemory &m = *places;
  char *next = memory;
  take(next, views * group * m.keys, &m.words);
  take(next, views * group * (m.keys / kChunkKeys), &m.chunk_sums);
  take(next, views * group, &m.stops);
  take(next, views * group, &m.greatest);
  take(next, views * group, &m.head_keys);
  take(next, views * group * shape.signature.planes(), &m.codes);
  return next - memory;
}

}  // namespace sounder::cuda
