// SPDX-License-Identifier: Apache-2.0
#include "sampled_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "../attention/attention_kernels.h"
#include "../attention/partial.h"
#include "../memory.h"
#include "../random.h"
#include "sounder.h"

namespace sounder {

namespace {

// Scratch of the jobs that run at once: more of them balance better, fewer take less memory.
constexpr int64_t kMostWaveBytes = 64 << 20;

// One query token at one KV head.
struct View {
  StrategyView strategy_view;
  const Strategy *strategy;
  int job;  // of the wave
  int phases, segments;
  int first_segment;  // of the wave
  int first_chunk;    // of the running pass
  float *states;      // [heads][segments] sampled states
  float *exact;       // [heads][sink, tail] partial states
  const float *signs;
};

// The pass in which keys are chosen and attended.
constexpr int kLastPass = -1;

// What one view found, summed by the job when all are done.
struct ViewResult {
  double chosen_rows, chosen_keys, inverse_samples, squared_error;
};

template <typename T>
T *carve(char *&next, int64_t count) {
  T *start = reinterpret_cast<T *>(next);
  next += index_aligned(count * int64_t{sizeof(T)});
  return start;
}

// How many jobs run at once, and the bytes of each.
struct WavePlan {
  int group;
  int64_t view_bytes, job_bytes, thread_bytes;
  int jobs;
};

int64_t thread_floats(const AttentionShape &shape) {
  return std::max(gather_scratch_floats(shape.head_dim), attention_scratch_floats(shape.head_dim));
}

WavePlan plan_wave(const AttentionShape &shape, int threads, int most_jobs, int context) {
  WavePlan plan;
  plan.group = shape.heads / shape.kv_heads;
  const int d = shape.head_dim;
  plan.view_bytes = index_aligned(strategy_scratch_bytes(plan.group, context)) +
                    index_aligned(4 * plan.group * int64_t{kMostSegments} * sampled_floats(d)) +
                    index_aligned(4 * plan.group * int64_t{2} * partial_floats(d)) + index_aligned(4 * d);
  plan.job_bytes = plan.view_bytes * shape.kv_heads;
  plan.thread_bytes = index_aligned(4 * thread_floats(shape)) +
                      2 * index_aligned(4 * int64_t{most_segment_keys(context)}) +
                      index_aligned(most_segment_keys(context) / 8 + 1);
  int64_t fit = std::max<int64_t>(1, kMostWaveBytes / plan.job_bytes);
  int useful = std::max(1, 8 * threads / shape.kv_heads);
  plan.jobs = static_cast<int>(std::min<int64_t>({fit, useful, most_jobs}));
  return plan;
}

bool sampled_range(const SampledShape &shape, const SampledParams &params, int position, int covered,
                   SampledRange *range) {
  if (params.attention == SOUNDER_ATTENTION_FULL) return false;
  // The tail begins with a block: at least the window, and the open block.
  int end = std::max(0, position + 1 - shape.window) / kBlockTokens * kBlockTokens;
  if (params.attention == SOUNDER_ATTENTION_LSH) end = std::min(end, covered / kBlockTokens * kBlockTokens);
  const int begin = std::min(shape.sink, position + 1), keys = end - begin;
  if (keys <= kLeastRows) return false;
  const double share = std::ceil(static_cast<double>(params.budget) * keys);
  *range = {begin, end, std::max(kLeastRows, static_cast<int>(share))};
  return range->budget < keys;
}

}  // namespace

struct SampledAttention::State {
  State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape_, int most_jobs, int context);

  struct Scratch {
    float *floats;
    int32_t *keys;
    float *offsets;
    uint64_t *seen;  // one bit for each key of a segment
  };
  Scratch scratch_of(int thread) const;

  void make_views(int layer, const void *slab, const char *records, const SampledJob *jobs, int count);
  void make_view(int layer, const void *slab, const char *records, const SampledJob &job, int job_index,
                 int kv_head, const SampledRange &range);
  int count_chunks(int pass);
  View &view_of_chunk(int index);
  void run_phase_chunk(int pass, int index);
  void run_last_chunk(const SampledJob *jobs, int index, int thread);
  void attend_choice(View &view, int segment, int first, int count, const Choice &choice,
                     const Scratch &scratch);
  int count_new(const Choice &choice, uint64_t *seen) const;
  void attend_segment(View &view, int segment, const Scratch &scratch);
  void attend_exact(View &view, const SampledJob &job, const Scratch &scratch);
  void finish(View &view, const SampledJob &job);
  void add_up(const SampledJob *jobs);
  void run_wave(int layer, const void *slab, const char *records, const SampledJob *jobs, int count);

  ThreadTeam &team;
  const AttentionKernels &attention;
  const GatherKernels &gather;
  SampledShape shape;
  WavePlan plan;
  int context;
  std::vector<std::unique_ptr<Strategy>> strategies;
  Mapping memory;
  std::vector<View> views;
  std::vector<ViewResult> results;
  std::vector<std::atomic<int>> finished;  // chunks of each view that ended in this pass
  std::vector<double> chosen;              // [segment of the wave][chosen keys of all heads, chosen rows]
};

SampledAttention::State::State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape_,
                               int most_jobs, int context_)
    : team(team_),
      attention(*attention_kernels(level.name)),
      gather(*gather_kernels(level.name)),
      shape(shape_),
      plan(plan_wave(shape_.attention, team_.size(), most_jobs, context_)),
      context(context_),
      strategies(make_strategies(
          {level.name, plan.group, shape_.index, shape_.index_seed, shape_.lsh_bits, shape_.lsh_tables})),
      memory(plan.job_bytes * plan.jobs + plan.thread_bytes * team_.size(), "sampled attention"),
      results(static_cast<size_t>(plan.jobs) * shape_.attention.kv_heads),
      finished(results.size()),
      chosen(results.size() * kMostSegments * 2) {
  views.reserve(results.size());
}

SampledAttention::State::Scratch SampledAttention::State::scratch_of(int thread) const {
  char *next =
      static_cast<char *>(memory.data()) + plan.job_bytes * plan.jobs + int64_t{thread} * plan.thread_bytes;
  Scratch scratch;
  scratch.floats = carve<float>(next, thread_floats(shape.attention));
  scratch.keys = carve<int32_t>(next, most_segment_keys(context));
  scratch.offsets = carve<float>(next, most_segment_keys(context));
  scratch.seen = reinterpret_cast<uint64_t *>(next);
  return scratch;
}

void SampledAttention::State::make_view(int layer, const void *slab, const char *records,
                                        const SampledJob &job, int job_index, int kv_head,
                                        const SampledRange &range) {
  const AttentionShape &a = shape.attention;
  const int64_t head_values = int64_t{kBlockTokens} * 2 * a.head_dim;
  const int64_t bytes = record_bytes(shape.index);
  char *next = static_cast<char *>(memory.data()) + static_cast<int64_t>(views.size()) * plan.view_bytes;

  View view{};
  StrategyView &s = view.strategy_view;
  s.q = job.q + int64_t{kv_head} * plan.group * a.head_dim;
  s.heads = plan.group;
  s.head_dim = a.head_dim;
  s.kv_is_f32 = a.kv_is_f32;
  s.rows = static_cast<const char *>(slab) + kv_head * head_values * (a.kv_is_f32 ? 4 : 2);
  s.block_stride = a.kv_heads * head_values;
  s.records = records == nullptr ? nullptr : records + kv_head * bytes;
  s.record_stride = a.kv_heads * bytes;
  s.blocks = job.blocks;
  s.begin = range.begin;
  s.end = range.end;
  s.budget = range.budget;
  s.params = job.params;
  s.draw_seed =
      random_bits(job.params->seed, static_cast<uint64_t>(layer) << 32 | static_cast<uint64_t>(kv_head),
                  static_cast<uint64_t>(job.position));
  s.lsh = job.lsh;
  s.layer = layer;
  s.kv_head = kv_head;
  const int even = (range.end / kMostSegments / kIndexTokens + 1) * kIndexTokens;
  s.segment_keys = std::max(even, kLeastSegmentKeys);
  s.scratch = carve<char>(next, strategy_scratch_bytes(plan.group, context));

  view.strategy = strategies[job.params->attention].get();
  view.job = job_index;
  view.phases = view.strategy->phases(s);
  view.segments = view.strategy->segments(s);
  view.states = carve<float>(next, int64_t{plan.group} * kMostSegments * sampled_floats(a.head_dim));
  view.exact = carve<float>(next, int64_t{plan.group} * 2 * partial_floats(a.head_dim));
  float *signs = carve<float>(next, a.head_dim);
  for (int i = 0; i < a.head_dim; ++i) {
    uint64_t bits = random_bits(s.draw_seed, 0x5167, static_cast<uint64_t>(i / 64));
    signs[i] = bits >> (i % 64) & 1 ? 1.0f : -1.0f;
  }
  view.signs = signs;
  views.push_back(view);
}

void SampledAttention::State::make_views(int layer, const void *slab, const char *records,
                                         const SampledJob *jobs, int count) {
  views.clear();
  int segments = 0;
  for (int i = 0; i < count; ++i) {
    SampledRange range;
    const int covered = jobs[i].lsh == nullptr ? 0 : jobs[i].lsh->covered(layer);
    sampled_range(shape, *jobs[i].params, jobs[i].position, covered, &range);
    for (int kv_head = 0; kv_head < shape.attention.kv_heads; ++kv_head)
      make_view(layer, slab, records, jobs[i], i, kv_head, range);
  }
  for (View &view : views) {
    view.first_segment = segments;
    segments += view.segments;
  }
}

// Passes before the last are phases; the last one has one more chunk a view, for sink and tail.
int SampledAttention::State::count_chunks(int pass) {
  int chunks = 0;
  for (size_t i = 0; i < views.size(); ++i) {
    View &view = views[i];
    view.first_chunk = chunks;
    finished[i].store(0, std::memory_order_relaxed);
    if (pass == kLastPass)
      chunks += view.segments + 1;
    else if (pass < view.phases)
      chunks += view.strategy->is_segmented(pass) ? view.segments : 1;
  }
  return chunks;
}

View &SampledAttention::State::view_of_chunk(int index) {
  auto after = std::upper_bound(views.begin(), views.end(), index,
                                [](int i, const View &view) { return i < view.first_chunk; });
  return *(after - 1);
}

void SampledAttention::State::run_phase_chunk(int pass, int index) {
  View &view = view_of_chunk(index);
  const int chunks = view.strategy->is_segmented(pass) ? view.segments : 1;
  view.strategy->run_phase(pass, view.strategy_view, index - view.first_chunk);
  std::atomic<int> &count = finished[static_cast<size_t>(&view - views.data())];
  if (count.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks)
    view.strategy->finish_phase(pass, view.strategy_view);
}

// The heads [first, first + count) of the group over the chosen keys of a segment.
void SampledAttention::State::attend_choice(View &view, int segment, int first, int count,
                                            const Choice &choice, const Scratch &scratch) {
  const StrategyView &s = view.strategy_view;
  const int size = sampled_floats(s.head_dim);
  GatherTask task{};
  task.rows = s.rows;
  task.block_stride = s.block_stride;
  task.blocks = s.blocks;
  task.keys = choice.keys;
  task.count = choice.count;
  task.offsets = choice.certain ? nullptr : choice.offsets;
  task.collision = choice.by_collision ? &choice.collision : nullptr;
  task.head_dim = s.head_dim;
  task.signs = view.signs;
  task.state_stride = int64_t{view.segments} * size;
  task.scratch = scratch.floats;
  for (int head = first; head < first + count; head += kMostGatherQueries) {
    task.q = s.q + int64_t{head} * s.head_dim;
    task.queries = std::min(kMostGatherQueries, first + count - head);
    task.states = view.states + head * task.state_stride + int64_t{segment} * size;
    (s.kv_is_f32 ? gather.gather_f32 : gather.gather_bf16)(task);
  }
}

// How many of these keys no earlier head of the group chose. A segment's keys lie closer together than
// most_segment_keys, so that the remainder tells them apart.
int SampledAttention::State::count_new(const Choice &choice, uint64_t *seen) const {
  const int most = most_segment_keys(context);
  int fresh = 0;
  for (int i = 0; i < choice.count; ++i) {
    const int place = choice.keys[i] % most;
    const uint64_t bit = uint64_t{1} << (place & 63);
    fresh += (seen[place >> 6] & bit) == 0;
    seen[place >> 6] |= bit;
  }
  return fresh;
}

void SampledAttention::State::attend_segment(View &view, int segment, const Scratch &scratch) {
  const StrategyView &s = view.strategy_view;
  double keys = 0, rows = 0;
  Choice choice{scratch.keys, scratch.offsets, most_segment_keys(context)};
  if (view.strategy->is_shared(s)) {
    view.strategy->choose(s, segment, 0, choice);
    attend_choice(view, segment, 0, s.heads, choice, scratch);
    keys = double{1} * choice.count * s.heads;
    rows = choice.count;
  } else {
    std::fill_n(scratch.seen, most_segment_keys(context) / 64 + 1, 0);
    for (int head = 0; head < s.heads; ++head) {
      Choice own{scratch.keys, scratch.offsets, most_segment_keys(context)};
      view.strategy->choose(s, segment, head, own);
      attend_choice(view, segment, head, 1, own, scratch);
      keys += own.count;
      rows += count_new(own, scratch.seen);
    }
  }
  chosen[2 * (view.first_segment + segment)] = keys;
  chosen[2 * (view.first_segment + segment) + 1] = rows;
}

// The sink and the tail.
void SampledAttention::State::attend_exact(View &view, const SampledJob &job, const Scratch &scratch) {
  const StrategyView &s = view.strategy_view;
  const int size = partial_floats(s.head_dim);
  for (int head = 0; head < s.heads; head += kMostStreamRows) {
    AttentionTask task{};
    task.rows = s.rows;
    task.block_stride = s.block_stride;
    task.blocks = s.blocks;
    task.tokens = 1;
    task.heads = std::min(kMostStreamRows, s.heads - head);
    task.head_dim = s.head_dim;
    task.position = job.position;
    task.q = s.q + int64_t{head} * s.head_dim;
    task.partial_head_stride = 2 * size;
    task.scratch = scratch.floats;
    const auto stream = s.kv_is_f32 ? attention.stream_f32 : attention.stream_bf16;
    float *states = view.exact + int64_t{head} * 2 * size;
    task.partial = states;
    task.key_begin = 0;
    task.key_end = s.begin;
    if (s.begin > 0)
      stream(task);
    else
      for (int i = 0; i < task.heads; ++i) make_partial_empty(states + int64_t{i} * 2 * size, s.head_dim);
    task.partial = states + size;
    task.key_begin = s.end;
    task.key_end = job.position + 1;
    stream(task);
  }
}

// Segments merge in their order, whoever does it.
void SampledAttention::State::finish(View &view, const SampledJob &job) {
  const StrategyView &s = view.strategy_view;
  const int d = s.head_dim, size = sampled_floats(d), partial = partial_floats(d);
  ViewResult result{};
  for (int head = 0; head < s.heads; ++head) {
    float *states = view.states + int64_t{head} * view.segments * size;
    for (int segment = 1; segment < view.segments; ++segment)
      merge_sampled(states, states + int64_t{segment} * size, d);
    const float *exact = view.exact + int64_t{head} * 2 * partial;
    merge_exact(states, exact, d);
    merge_exact(states, exact + partial, d);
    float *output = job.output + (int64_t{s.kv_head} * s.heads + head) * d;
    SampledResult one = finish_sampled(states, view.signs, d, output);
    result.inverse_samples += one.inverse_samples;
    result.squared_error += one.squared_error;
  }
  for (int segment = 0; segment < view.segments; ++segment) {
    result.chosen_keys += chosen[2 * (view.first_segment + segment)];
    result.chosen_rows += chosen[2 * (view.first_segment + segment) + 1];
  }
  results[static_cast<size_t>(&view - views.data())] = result;
}

void SampledAttention::State::run_last_chunk(const SampledJob *jobs, int index, int thread) {
  View &view = view_of_chunk(index);
  const int segment = index - view.first_chunk;
  const Scratch scratch = scratch_of(thread);
  if (segment < view.segments)
    attend_segment(view, segment, scratch);
  else
    attend_exact(view, jobs[view.job], scratch);
  std::atomic<int> &count = finished[static_cast<size_t>(&view - views.data())];
  if (count.fetch_add(1, std::memory_order_acq_rel) + 1 == view.segments + 1) finish(view, jobs[view.job]);
}

// In the order of the views: sums do not depend on who finished first.
void SampledAttention::State::add_up(const SampledJob *jobs) {
  const double kv_heads = shape.attention.kv_heads, heads = shape.attention.heads;
  for (size_t i = 0; i < views.size(); ++i) {
    SampledStatistics &statistics = *jobs[views[i].job].statistics;
    if (views[i].strategy_view.kv_head == 0) {
      ++statistics.layers;
      statistics.offloaded = views[i].strategy_view.end - views[i].strategy_view.begin;
    }
    statistics.chosen_keys += results[i].chosen_keys / heads;
    statistics.chosen_rows += results[i].chosen_rows / kv_heads;
    statistics.inverse_samples += results[i].inverse_samples / heads;
    statistics.squared_error += results[i].squared_error / heads;
  }
}

void SampledAttention::State::run_wave(int layer, const void *slab, const char *records,
                                       const SampledJob *jobs, int count) {
  make_views(layer, slab, records, jobs, count);
  int phases = 0;
  for (const View &view : views) phases = std::max(phases, view.phases);
  for (int phase = 0; phase < phases; ++phase) {
    auto body = [&](int chunk, int) { run_phase_chunk(phase, chunk); };
    team.run(count_chunks(phase), body);
  }
  auto last = [&](int chunk, int thread) { run_last_chunk(jobs, chunk, thread); };
  team.run(count_chunks(kLastPass), last);
  add_up(jobs);
}

SampledAttention::SampledAttention(ThreadTeam &team, const Kernels &kernels, const SampledShape &shape,
                                   int max_step_sequences, int max_context)
    : state_(std::make_unique<State>(team, kernels, shape, max_step_sequences, max_context)) {}

SampledAttention::~SampledAttention() = default;

bool SampledAttention::range(const SampledParams &params, int position, int covered,
                             SampledRange *range) const {
  return sampled_range(state_->shape, params, position, covered, range);
}

void SampledAttention::run(int layer, const void *slab, const char *records, const SampledJob *jobs,
                           int job_count) {
  for (int first = 0; first < job_count; first += state_->plan.jobs) {
    const int count = std::min(state_->plan.jobs, job_count - first);
    state_->run_wave(layer, slab, records, jobs + first, count);
  }
}

int64_t SampledAttention::workspace_bytes(const AttentionShape &shape, int threads, int max_step_sequences,
                                          int max_context) {
  WavePlan plan = plan_wave(shape, threads, max_step_sequences, max_context);
  return plan.job_bytes * plan.jobs + plan.thread_bytes * threads;
}

}  // namespace sounder
