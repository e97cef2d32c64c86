// SPDX-License-Identifier: Apache-2.0
#include "sampled_attention.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "../attention/attention_kernels.h"
#include "../attention/partial.h"
#include "sampled_views.h"

namespace sounder {

namespace {

// The pass in which keys are chosen and attended.
constexpr int kLastPass = -1;

// What one view found, summed by the job when all are done.
struct ViewResult {
  double chosen_rows, chosen_keys, inverse_samples, squared_error;
};
}  // namespace

struct SampledAttention::State {
  State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape_, int most_jobs, int context);

  using Scratch = SampledViews::Scratch;
  int count_chunks(int pass);
  View &view_of_chunk(int index);
  bool is_last_of(const View &view, int chunks);
  void run_phase_chunk(const SampledJob *jobs, int pass, int index, int thread);
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
  SampledViews views;
  std::vector<ViewResult> results;
  std::vector<std::atomic<int>> finished;  // chunks of each view that ended in this pass
  std::vector<double> chosen;              // [segment of the wave][chosen keys of all heads, chosen rows]
};

SampledAttention::State::State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape,
                               int most_jobs, int context)
    : team(team_),
      attention(*attention_kernels(level.name)),
      gather(*gather_kernels(level.name)),
      views(level.name, shape, team_.size(), most_jobs, context),
      results(static_cast<size_t>(views.plan().jobs) * shape.attention.kv_heads),
      finished(results.size()),
      chosen(results.size() * kMostSegments * 2) {}

namespace {

// Passes before the last are phases. A view's first pass has one more chunk, for sink and tail: what a
// strategy finishes after its first phase may build on them.
int chunks_of(const View &view, int pass) {
  if (pass == kLastPass) return view.segments + (view.phases == 0 ? 1 : 0);
  if (pass >= view.phases) return 0;
  return (view.strategy->is_segmented(pass) ? view.segments : 1) + (pass == 0 ? 1 : 0);
}

}  // namespace

int SampledAttention::State::count_chunks(int pass) {
  int chunks = 0;
  for (size_t i = 0; i < views.all().size(); ++i) {
    View &view = views.all()[i];
    view.first_chunk = chunks;
    finished[i].store(0, std::memory_order_relaxed);
    chunks += chunks_of(view, pass);
  }
  return chunks;
}

View &SampledAttention::State::view_of_chunk(int index) {
  auto after = std::upper_bound(views.all().begin(), views.all().end(), index,
                                [](int i, const View &view) { return i < view.first_chunk; });
  return *(after - 1);
}

// True when this was the last of the view's chunks in this pass.
bool SampledAttention::State::is_last_of(const View &view, int chunks) {
  std::atomic<int> &count = finished[static_cast<size_t>(&view - views.all().data())];
  return count.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks;
}

void SampledAttention::State::run_phase_chunk(const SampledJob *jobs, int pass, int index, int thread) {
  View &view = view_of_chunk(index);
  const int segment = index - view.first_chunk, chunks = chunks_of(view, pass);
  if (pass == 0 && segment == chunks - 1)
    attend_exact(view, jobs[view.job], views.scratch_of(thread));
  else
    view.strategy->run_phase(pass, view.strategy_view, segment);
  if (is_last_of(view, chunks)) view.strategy->finish_phase(pass, view.strategy_view);
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
  const int most = most_segment_keys(views.context());
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
  Choice choice{scratch.keys, scratch.offsets, most_segment_keys(views.context())};
  if (view.strategy->is_shared(s)) {
    view.strategy->choose(s, segment, 0, choice);
    attend_choice(view, segment, 0, s.heads, choice, scratch);
    keys = double{1} * choice.count * s.heads;
    rows = choice.count;
  } else {
    std::fill_n(scratch.seen, most_segment_keys(views.context()) / 64 + 1, 0);
    const int most = most_segment_keys(views.context());
    for (int first = 0; first < s.heads; first += kListsAtOnce) {
      const int count = std::min(kListsAtOnce, s.heads - first);
      Choice own[kListsAtOnce];
      for (int i = 0; i < count; ++i)
        own[i] = {scratch.keys + int64_t{i} * most, scratch.offsets + int64_t{i} * most, most};
      view.strategy->choose_heads(s, segment, first, count, own);
      for (int i = 0; i < count; ++i) {
        attend_choice(view, segment, first + i, 1, own[i], scratch);
        keys += own[i].count;
        rows += count_new(own[i], scratch.seen);
      }
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
  results[static_cast<size_t>(&view - views.all().data())] = result;
}

void SampledAttention::State::run_last_chunk(const SampledJob *jobs, int index, int thread) {
  View &view = view_of_chunk(index);
  const int segment = index - view.first_chunk;
  const Scratch scratch = views.scratch_of(thread);
  if (segment < view.segments)
    attend_segment(view, segment, scratch);
  else
    attend_exact(view, jobs[view.job], scratch);
  if (is_last_of(view, chunks_of(view, kLastPass))) finish(view, jobs[view.job]);
}

// In the order of the views: sums do not depend on who finished first.
void SampledAttention::State::add_up(const SampledJob *jobs) {
  const double kv_heads = views.shape().attention.kv_heads, heads = views.shape().attention.heads;
  for (size_t i = 0; i < views.all().size(); ++i) {
    SampledStatistics &statistics = *jobs[views.all()[i].job].statistics;
    if (views.all()[i].strategy_view.kv_head == 0) {
      ++statistics.layers;
      statistics.offloaded = views.all()[i].strategy_view.end - views.all()[i].strategy_view.begin;
    }
    statistics.chosen_keys += results[i].chosen_keys / heads;
    statistics.chosen_rows += results[i].chosen_rows / kv_heads;
    statistics.inverse_samples += results[i].inverse_samples / heads;
    statistics.squared_error += results[i].squared_error / heads;
  }
}

void SampledAttention::State::run_wave(int layer, const void *slab, const char *records,
                                       const SampledJob *jobs, int count) {
  views.make(layer, slab, records, jobs, count);
  int phases = 0;
  for (const View &view : views.all()) phases = std::max(phases, view.phases);
  for (int phase = 0; phase < phases; ++phase) {
    auto body = [&](int chunk, int thread) { run_phase_chunk(jobs, phase, chunk, thread); };
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
  return sampled_range(state_->views.shape(), params, position, covered, range);
}

void SampledAttention::run(int layer, const void *slab, const char *records, const SampledJob *jobs,
                           int job_count) {
  for (int first = 0; first < job_count; first += state_->views.plan().jobs) {
    const int count = std::min(state_->views.plan().jobs, job_count - first);
    state_->run_wave(layer, slab, records, jobs + first, count);
  }
}

int64_t SampledAttention::workspace_bytes(const AttentionShape &shape, int threads, int max_step_sequences,
                                          int max_context) {
  WavePlan plan = plan_wave(shape, threads, max_step_sequences, max_context);
  return plan.job_bytes * plan.jobs + plan.thread_bytes * threads;
}

}  // namespace sounder
