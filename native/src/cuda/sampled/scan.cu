// SPDX-License-Identifier: Apache-2.0
//
// The scan: each warp takes blocks of contexts and slices of heads (scanner.cuh), all about as many.
// The first blocks of the grid attend sink and tail instead, while the others scan.
#include "scanner.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kScanBlocks =
    3;  // of a multiprocessor: four have no registers to fetch ahead, and are no faster

template <int N>
__device__ inline void hide_keys(int count, uint32_t (&scores)[N][8]) {
  const int first = static_cast<int>(threadIdx.x) % 32 / 4 * 16;
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (first + 2 * i < count) scores[n][i] = (scores[n][i] & 0xffff0000u) | 0x8000u;
      if (first + 2 * i + 1 < count) scores[n][i] = (scores[n][i] & 0xffffu) | 0x80000000u;
    }
}

__device__ inline void store_scores(const uint32_t (&scores)[8], int16_t *at) {
  auto *to = reinterpret_cast<uint4 *>(at + static_cast<int>(threadIdx.x) % 32 / 4 * 16);
  to[0] = make_uint4(scores[0], scores[1], scores[2], scores[3]);
  to[1] = make_uint4(scores[4], scores[5], scores[6], scores[7]);
}

// Blocks [block, end) of one context and slice. The next record is fetched before this one is worked on, and
// where it lies one block earlier.
template <typename Shape, int N>
__device__ inline void scan_blocks(const SampledStep &step, int query, const HeadSlice &slice, int block,
                                   int end) {
  const SampledQuery &own_query = step.query[query];
  const int32_t *ids = own_query.blocks;
  const int begin = own_query.begin, kv_head = slice.kv_head;
  const int blocks_of_segment = own_query.segment_keys / kIndexTokens;
  const int64_t view = view_index(step, query, kv_head), keys = step.memory.keys;
  const int64_t first_row = view * step.shape.group() + slice.first;
  auto record_of = [&](int id) {
    return step.records + (static_cast<int64_t>(id) * step.shape.kv_heads + kv_head) * step.record_stride;
  };
  Sketch<Shape> sketch;
  const char *record = record_of(ids[block]);
  sketch.load(record, step.shape, 0);
  int id = ids[min(block + 1, end - 1)], segment = block / blocks_of_segment;
  Scanner<Shape, N> scanner;
  scanner.start(step, view, slice);
  for (; block < end; ++block) {
    Sketch<Shape> own = sketch;
    const char *own_record = record;
    record = record_of(id);
    if (block + 1 < end) sketch.load(record, step.shape, 0);
    id = ids[min(block + 2, end - 1)];
    uint32_t scores[N][8];
    scanner.scan(own, own_record, scores);
    if (block * kIndexTokens < begin) hide_keys<N>(begin - block * kIndexTokens, scores);
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < 8; ++i) scanner.most[n] = max_shorts(scanner.most[n], scores[n][i]);
      if (scanner.head(n) < slice.count)
        store_scores(scores[n], step.memory.scores + (first_row + scanner.head(n)) * keys +
                                    int64_t{block} * kIndexTokens);
    }
    if (block + 1 < end && block + 1 < (segment + 1) * blocks_of_segment) continue;
    scanner.report(step, first_row, segment++);
  }
}

// Items [item, end) of all queries' served slices' blocks.
template <typename Shape, int N>
__device__ inline void scan_items(const SampledStep &step, int units, int64_t item, int64_t end) {
  for (int query = 0; query < step.queries && item < end; ++query) {
    const int blocks = step.query[query].end / kIndexTokens;
    const int64_t all = int64_t{blocks} * units;
    for (; item < min(all, end);) {
      const int unit = static_cast<int>(item) / blocks, first = static_cast<int>(item) % blocks;
      const int last = static_cast<int>(min(int64_t{blocks}, first + end - item));
      scan_blocks<Shape, N>(step, query, slice_at<Shape, 4 * N>(step.shape, step.served.first, unit), first,
                            last);
      item += last - first;
    }
    item -= all;
    end -= all;
  }
}

template <typename Shape, int H>
__global__ void __launch_bounds__(kThreads, Shape::kIsOwn &&H < 8 ? kScanBlocks : 2)
    scan_kernel(SampledStep step) {
  __shared__ float shared[shared_state_floats<Shape, H>(kWarps)];
  __shared__ MergeFactors factors;
  let_next_start();
  wait_for_previous();
  const int units = step.served.count() * slices_of<Shape, H>(step.shape);
  const int near = step.queries * units * kNearParts, block = static_cast<int>(blockIdx.x);
  if (block < near) {
    const int unit = block / kNearParts;
    attend_near<Shape, H>(step, unit / units, slice_at<Shape, H>(step.shape, step.served.first, unit % units),
                          block % kNearParts, shared, factors);
    return;
  }
  int64_t items = 0;
  for (int q = 0; q < step.queries; ++q) items += int64_t{step.query[q].end / kIndexTokens} * units;
  const int64_t warps = (static_cast<int>(gridDim.x) - near) * kWarps;
  const int64_t warp = (block - near) * kWarps + static_cast<int>(threadIdx.x) / 32;
  scan_items<Shape, H == 8 ? 2 : 1>(step, units, items * warp / warps, items * (warp + 1) / warps);
}

template <typename Shape>
void launch_with_heads(const Launcher &launcher, const SampledStep &step) {
  const int near = step.queries * step.served.count() * step.shape.slices() * kNearParts;
  const int heads = step.shape.heads_of_slice();
  const dim3 grid{static_cast<unsigned>(near + kScanBlocks * launcher.multiprocessors), 1, 1};
  if (heads == 1) return launch(launcher, scan_kernel<Shape, 1>, grid, kThreads, 0, step);
  if constexpr (Shape::kIsOwn)
    if (heads == 2) return launch(launcher, scan_kernel<Shape, 2>, grid, kThreads, 0, step);
  if (heads <= 4) return launch(launcher, scan_kernel<Shape, 4>, grid, kThreads, 0, step);
  if constexpr (Shape::kMost <= 128) launch(launcher, scan_kernel<Shape, 8>, grid, kThreads, 0, step);
}

}  // namespace

void launch_scan(const Launcher &launcher, const SampledStep &step) {
  check_shape(has_sketch_kernels(step.shape) && step.strategy.scans);
  const int d = step.shape.head_dim, bits = step.shape.bits;
  if (d == 64 && bits == 1) return launch_with_heads<OwnShape<64, 1>>(launcher, step);
  if (d == 64 && bits == 2) return launch_with_heads<OwnShape<64, 2>>(launcher, step);
  if (d == 128 && bits == 1) return launch_with_heads<OwnShape<128, 1>>(launcher, step);
  if (d == 128 && bits == 2) return launch_with_heads<OwnShape<128, 2>>(launcher, step);
  if (d <= 128) return launch_with_heads<AnyShape<128>>(launcher, step);
  launch_with_heads<AnyShape<256>>(launcher, step);
}

}  // namespace sounder::cuda
