// SPDX-License-Identifier: Apache-2.0
#include "sampled_views.h"

#include <algorithm>

#include "../attention/attention_kernels.h"
#include "../attention/partial.h"
#include "../random.h"
#include "sounder.h"

namespace sounder {

namespace {

// Scratch of the jobs that run at once: more of them balance better, fewer take less memory.
constexpr int64_t kMostWaveBytes = 64 << 20;
// Sets the random signs apart from a strategy's draws, which have the key in this place.
constexpr uint64_t kSignStream = uint64_t{1} << 40;

template <typename T>
T *carve(char *&next, int64_t count) {
  T *start = reinterpret_cast<T *>(next);
  next += index_aligned(count * int64_t{sizeof(T)});
  return start;
}

int64_t thread_floats(const AttentionShape &shape) {
  return std::max(gather_scratch_floats(shape.head_dim), attention_scratch_floats(shape.head_dim));
}

}  // namespace

WavePlan plan_wave(const AttentionShape &shape, int threads, int most_jobs, int context) {
  WavePlan plan;
  plan.group = shape.heads / shape.kv_heads;
  const int d = shape.head_dim;
  plan.view_bytes = index_aligned(strategy_scratch_bytes(plan.group, context)) +
                    index_aligned(4 * plan.group * int64_t{kMostSegments} * sampled_floats(d)) +
                    index_aligned(4 * plan.group * int64_t{2} * partial_floats(d)) + index_aligned(4 * d);
  plan.job_bytes = plan.view_bytes * shape.kv_heads;
  plan.thread_bytes = index_aligned(4 * thread_floats(shape)) +
                      2 * index_aligned(4 * int64_t{kListsAtOnce} * most_segment_keys(context)) +
                      index_aligned(most_segment_keys(context) / 8 + 1);
  int64_t fit = std::max<int64_t>(1, kMostWaveBytes / plan.job_bytes);
  int useful = std::max(1, 8 * threads / shape.kv_heads);
  plan.jobs = static_cast<int>(std::min<int64_t>({fit, useful, most_jobs}));
  return plan;
}

SampledViews::SampledViews(const char *level, const SampledShape &shape, int threads, int most_jobs,
                           int context)
    : shape_(shape),
      plan_(plan_wave(shape.attention, threads, most_jobs, context)),
      context_(context),
      strategies_(make_strategies(
          {level, plan_.group, shape.index, shape.index_seed, shape.lsh_bits, shape.lsh_tables})),
      memory_(plan_.job_bytes * plan_.jobs + plan_.thread_bytes * threads, "sampled attention") {
  views_.reserve(static_cast<size_t>(plan_.jobs) * shape.attention.kv_heads);
}

SampledViews::Scratch SampledViews::scratch_of(int thread) const {
  char *next = static_cast<char *>(memory_.data()) + plan_.job_bytes * plan_.jobs +
               int64_t{thread} * plan_.thread_bytes;
  Scratch scratch;
  scratch.floats = carve<float>(next, thread_floats(shape_.attention));
  scratch.keys = carve<int32_t>(next, int64_t{kListsAtOnce} * most_segment_keys(context_));
  scratch.offsets = carve<float>(next, int64_t{kListsAtOnce} * most_segment_keys(context_));
  scratch.seen = reinterpret_cast<uint64_t *>(next);
  return scratch;
}

StrategyView SampledViews::strategy_view(int layer, const void *slab, const LayerRecords &records,
                                         const SampledJob &job, int kv_head,
                                         const SampledRange &range) const {
  const AttentionShape &a = shape_.attention;
  const int64_t head_values = int64_t{kBlockTokens} * 2 * a.head_dim;
  StrategyView s{};
  s.q = job.q + int64_t{kv_head} * plan_.group * a.head_dim;
  s.heads = plan_.group;
  s.head_dim = a.head_dim;
  s.kv_is_f32 = a.kv_is_f32;
  s.rows = static_cast<const char *>(slab) + kv_head * head_values * (a.kv_is_f32 ? 4 : 2);
  s.block_stride = a.kv_heads * head_values;
  s.records = records.data == nullptr ? nullptr : records.data + kv_head * records.head_stride;
  s.record_stride = records.block_stride;
  s.blocks = job.blocks;
  s.begin = range.begin;
  s.end = range.end;
  s.budget = range.budget;
  s.params = job.params;
  s.draw_seed =
      random_bits(job.params->seed, uint64_t(layer) << 32 | uint64_t(kv_head), uint64_t(job.position));
  s.lsh = job.lsh;
  s.layer = layer;
  s.kv_head = kv_head;
  s.segment_keys = segment_keys_of(range.end, shape_.attention.kv_heads);
  return s;
}

void SampledViews::add(int layer, const void *slab, const LayerRecords &records, const SampledJob &job,
                       int job_index, int kv_head, const SampledRange &range) {
  const int d = shape_.attention.head_dim;
  char *next = static_cast<char *>(memory_.data()) + static_cast<int64_t>(views_.size()) * plan_.view_bytes;
  View view{};
  view.strategy_view = strategy_view(layer, slab, records, job, kv_head, range);
  view.strategy_view.scratch = carve<char>(next, strategy_scratch_bytes(plan_.group, context_));
  view.strategy = strategies_[static_cast<size_t>(job.params->attention)].get();
  view.job = job_index;
  view.piece = -1;
  view.phases = view.strategy->phases(view.strategy_view);
  view.segments = view.strategy->segments(view.strategy_view);
  view.states = carve<float>(next, int64_t{plan_.group} * kMostSegments * sampled_floats(d));
  view.exact = carve<float>(next, int64_t{plan_.group} * 2 * partial_floats(d));
  view.strategy_view.exact = view.exact;
  float *signs = carve<float>(next, d);
  for (int i = 0; i < d; i += 64) {
    uint64_t bits = random_bits(view.strategy_view.draw_seed, kSignStream, static_cast<uint64_t>(i / 64));
    for (int j = i; j < std::min(d, i + 64); ++j, bits >>= 1) signs[j] = (bits & 1) != 0 ? 1.0f : -1.0f;
  }
  view.signs = signs;
  views_.push_back(view);
}

void SampledViews::make(int layer, const void *slab, const LayerRecords &records, const SampledJob *jobs,
                        int count) {
  views_.clear();
  for (int i = 0; i < count; ++i) {
    SampledRange range{};
    const int covered = jobs[i].lsh == nullptr ? 0 : jobs[i].lsh->covered(layer);
    sampled_range(shape_, *jobs[i].params, jobs[i].position, covered, &range);
    for (int kv_head = jobs[i].first_kv_head; kv_head < shape_.attention.kv_heads; ++kv_head)
      add(layer, slab, records, jobs[i], i, kv_head, range);
  }
  int segments = 0;
  for (View &view : views_) {
    view.first_segment = segments;
    segments += view.segments;
  }
}

}  // namespace sounder
