// SPDX-License-Identifier: Apache-2.0
#include "sampled_attention.h"

#include <algorithm>
#include <vector>

#include "../attention/attention_kernels.h"
#include "../attention/partial.h"
#include "sampled_passes.h"
#include "sampled_views.h"

namespace sounder {

namespace {

// What one view found, summed by the job when all are done.
struct ViewResult {
  double chosen_rows, chosen_keys, inverse_samples, squared_error;
};
}  // namespace

struct SampledAttention::State {
  State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape_, int most_jobs, int context);

  using Scratch = SampledViews::Scratch;
  void run_chunk(const SampledJob *jobs, const Piece &piece, int chunk, int thread);
  void finish_piece(const SampledJob *jobs, const Piece &piece);
  void attend_choice(View &view, int segment, int first, int count, const Choice &choice,
                     const Scratch &scratch);
  int count_new(const Choice &choice, uint64_t *seen) const;
  void attend_segment(View &view, int segment, const Scratch &scratch);
  void attend_exact(View &view, const SampledJob &job, const Scratch &scratch);
  void finish(View &view, const SampledJob &job);
  void add_up(const SampledJob *jobs);
  void run_wave(int layer, const void *slab, const LayerRecords &records, const SampledJob *jobs, int count);

  ThreadTeam &team;
  const AttentionKernels &attention;
  const GatherKernels &gather;
  SampledViews views;
  SampledPasses passes;
  std::vector<ViewResult> results;
  std::vector<double> chosen;  // [segment of the wave][chosen keys of all heads, chosen rows]
};

SampledAttention::State::State(ThreadTeam &team_, const Kernels &level, const SampledShape &shape,
                               int most_jobs, int context)
    : team(team_),
      attention(*attention_kernels(level.name)),
      gather(*gather_kernels(level.name)),
      views(level.name, shape, team_.size(), most_jobs, context),
      passes(views.plan().jobs * shape.attention.kv_heads),
      results(static_cast<size_t>(views.plan().jobs) * shape.attention.kv_heads),
      chosen(results.size() * kMostSegments * 2) {}

void SampledAttention::State::run_chunk(const SampledJob *jobs, const Piece &piece, int chunk, int thread) {
  View &view = *piece.view;
  if (piece.has_exact() && chunk == piece.chunks - 1)
    attend_exact(view, jobs[view.job], views.scratch_of(thread));
  else if (piece.is_last())
    attend_segment(view, chunk, views.scratch_of(thread));
  else
    view.strategy->run_phase(piece.pass, view.strategy_view, chunk);
}

void SampledAttention::State::finish_piece(const SampledJob *jobs, const Piece &piece) {
  View &view = *piece.view;
  if (piece.is_last())
    finish(view, jobs[view.job]);
  else
    view.strategy->finish_phase(piece.pass, view.strategy_view);
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
  task.one_draw = choice.has_draws ? &choice.one_draw : nullptr;
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
  const int first = choice.count > 0 ? choice.keys[0] / most * most : 0;  // keys ascend
  int fresh = 0;
  for (int i = 0; i < choice.count; ++i) {
    const int from_first = choice.keys[i] - first, place = from_first < most ? from_first : from_first - most;
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

// In the order of the views: sums do not depend on who finished first.
void SampledAttention::State::add_up(const SampledJob *jobs) {
  const double kv_heads = views.shape().attention.kv_heads, heads = views.shape().attention.heads;
  for (size_t i = 0; i < views.all().size(); ++i) {
    const SampledJob &job = jobs[views.all()[i].job];
    SampledStatistics &statistics = *job.statistics;
    if (views.all()[i].strategy_view.kv_head == job.first_kv_head) {
      ++statistics.layers;
      statistics.offloaded = views.all()[i].strategy_view.end - views.all()[i].strategy_view.begin;
    }
    statistics.chosen_keys += results[i].chosen_keys / heads;
    statistics.chosen_rows += results[i].chosen_rows / kv_heads;
    statistics.inverse_samples += results[i].inverse_samples / heads;
    statistics.squared_error += results[i].squared_error / heads;
  }
}

void SampledAttention::State::run_wave(int layer, const void *slab, const LayerRecords &records,
                                       const SampledJob *jobs, int count) {
  views.make(layer, slab, records, jobs, count);
  auto body = [&](int index, int thread) {
    passes.run(
        index, thread, [&](const Piece &piece, int chunk) { run_chunk(jobs, piece, chunk, thread); },
        [&](const Piece &piece) { finish_piece(jobs, piece); });
  };
  team.run(passes.plan(views.all()), body);
  add_up(jobs);
}

SampledAttention::SampledAttention(ThreadTeam &team, const Kernels &kernels, const SampledShape &shape,
                                   int max_step_sequences, int max_context)
    : state_(std::make_unique<State>(team, kernels, shape, max_step_sequences, max_context)) {}

SampledAttention::~SampledAttention() = default;

void SampledAttention::run(int layer, const void *slab, const LayerRecords &records, const SampledJob *jobs,
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
