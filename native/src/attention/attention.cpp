// SPDX-License-Identifier: Apache-2.0
#include "attention.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention_kernels.h"
#include "attention_plan.h"
#include "partial.h"

namespace sounder {

namespace {

struct PlannedJob {
  AttentionJob job;
  JobCut cut;
  int first_chunk;
  int first_counter;      // of kv_heads counters of finished chunks, if the cut is split
  int64_t first_partial;  // in floats
};

// What a sequence of a step may need beside its partial states.
constexpr int64_t kSequenceBytes = 256;
static_assert(sizeof(PlannedJob) <= kSequenceBytes);

struct AlignedFloats {
  explicit AlignedFloats(int64_t count)
      : data(static_cast<float *>(::operator new(static_cast<size_t>(count) * sizeof(float), kAlignment))) {}
  ~AlignedFloats() { ::operator delete(data, kAlignment); }
  AlignedFloats(const AlignedFloats &) = delete;
  AlignedFloats &operator=(const AlignedFloats &) = delete;

  static constexpr std::align_val_t kAlignment{64};
  float *data;
};

int64_t partial_floats_of_sequence(const AttentionShape &shape) {
  return int64_t{kMostPartials} * shape.heads * partial_floats(shape.head_dim);
}

const AttentionKernels &kernels_named(const char *level) {
  const AttentionKernels *kernels = attention_kernels(level);
  if (kernels == nullptr)
    throw std::invalid_argument("attention has no kernels for the level " + std::string(level));
  return *kernels;
}

void check_shape(const AttentionShape &shape) {
  if (shape.kv_heads < 1 || shape.heads < shape.kv_heads || shape.heads % shape.kv_heads != 0)
    throw std::invalid_argument(
        "attention needs a number of heads that is a multiple of the number of KV heads");
  if (shape.head_dim < 2 || shape.head_dim > kMostHeadDim || shape.head_dim % 2 != 0)
    throw std::invalid_argument("attention needs an even head_dim from 2 to 256");
}

}  // namespace

struct Attention::State {
  State(ThreadTeam &team_, const Kernels &level, const AttentionShape &shape_, int most_sequences_)
      : team((check_shape(shape_), team_)),
        kernels(kernels_named(level.name)),
        shape(shape_),
        most_sequences(most_sequences_),
        scratch_floats(attention_scratch_floats(shape_.head_dim)),
        scratch(scratch_floats * team_.size()),
        partials(partial_floats_of_sequence(shape_) * most_sequences_),
        finished(static_cast<size_t>(most_sequences_) * shape_.kv_heads) {
    planned.reserve(most_sequences_);
  }

  int plan(const AttentionJob *jobs, int job_count);
  void run_chunk(const void *slab, int index, int thread);
  AttentionTask task_of(const void *slab, const PlannedJob &planned_job, const Chunk &chunk);
  void merge(const PlannedJob &planned_job, int kv_head);

  ThreadTeam &team;
  const AttentionKernels &kernels;
  AttentionShape shape;
  int most_sequences;
  int64_t scratch_floats;
  AlignedFloats scratch;   // [team.size()][scratch_floats]
  AlignedFloats partials;  // of each split job: [tokens][heads][segments][head_dim + 2]
  std::vector<std::atomic<int>> finished;
  std::vector<PlannedJob> planned;
};

// Orders the jobs, largest chunks first, and gives each its place. Returns the number of chunks.
int Attention::State::plan(const AttentionJob *jobs, int job_count) {
  if (job_count > most_sequences)
    throw std::invalid_argument("attention got more sequences than it was made for");
  planned.clear();
  for (int i = 0; i < job_count; ++i)
    planned.push_back(
        {jobs[i], cut_job(shape, kernels, team.size(), jobs[i].tokens, jobs[i].position), 0, 0, 0});
  std::stable_sort(planned.begin(), planned.end(),
                   [](const PlannedJob &a, const PlannedJob &b) { return a.cut.work > b.cut.work; });
  int chunks = 0, counters = 0;
  int64_t partial = 0;
  for (PlannedJob &p : planned) {
    p.first_chunk = chunks;
    chunks += p.cut.chunks;
    if (!p.cut.is_split()) continue;
    p.first_counter = counters;
    counters += shape.kv_heads;
    p.first_partial = partial;
    partial += int64_t{p.job.tokens} * p.cut.segments * shape.heads * partial_floats(shape.head_dim);
  }
  for (int i = 0; i < counters; ++i) finished[i].store(0, std::memory_order_relaxed);
  return chunks;
}

AttentionTask Attention::State::task_of(const void *slab, const PlannedJob &p, const Chunk &chunk) {
  const int64_t head_values = int64_t{kBlockTokens} * 2 * shape.head_dim;
  const int64_t value_bytes = shape.kv_is_f32 ? 4 : 2;
  const int token = chunk.tile * p.cut.tokens_in_tile;
  const int group = shape.heads / shape.kv_heads;
  const int head = chunk.kv_head * group + chunk.part * p.cut.heads_in_part;
  const int block = p.cut.first_block + chunk.segment * p.cut.blocks_in_segment;

  AttentionTask task;
  task.rows = static_cast<const char *>(slab) + chunk.kv_head * head_values * value_bytes;
  task.block_stride = shape.kv_heads * head_values;
  task.blocks = p.job.blocks;
  task.tokens = std::min(p.cut.tokens_in_tile, p.job.tokens - token);
  task.heads = std::min(p.cut.heads_in_part, (chunk.kv_head + 1) * group - head);
  task.kv_heads = chunk.kv_heads;
  task.head_dim = shape.head_dim;
  task.position = p.job.position + token;
  task.window = shape.sliding_window;
  task.key_begin = block * kBlockTokens;
  task.key_end = std::min((block + p.cut.blocks_in_segment) * kBlockTokens, p.job.position + p.job.tokens);
  task.q = p.job.q + int64_t{token} * p.job.q_stride + int64_t{head} * shape.head_dim;
  task.q_stride = p.job.q_stride;
  task.output = p.job.output + int64_t{token} * p.job.output_stride + int64_t{head} * shape.head_dim;
  task.output_stride = p.job.output_stride;
  task.partial_head_stride = int64_t{p.cut.segments} * partial_floats(shape.head_dim);
  task.partial_token_stride = shape.heads * task.partial_head_stride;
  task.partial = nullptr;
  if (p.cut.is_split())
    task.partial = partials.data + p.first_partial + token * task.partial_token_stride +
                   head * task.partial_head_stride + chunk.segment * partial_floats(shape.head_dim);
  return task;
}

// All queries of one KV head of a split job; segments merge in their order, whoever does it.
void Attention::State::merge(const PlannedJob &p, int kv_head) {
  const int group = shape.heads / shape.kv_heads, size = partial_floats(shape.head_dim);
  for (int token = 0; token < p.job.tokens; ++token) {
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      float *states =
          partials.data + p.first_partial + (int64_t{token} * shape.heads + head) * p.cut.segments * size;
      for (int segment = 1; segment < p.cut.segments; ++segment)
        merge_partial(states, states + int64_t{segment} * size, shape.head_dim);
      float *output = p.job.output + int64_t{token} * p.job.output_stride + int64_t{head} * shape.head_dim;
      finish_partial(states, shape.head_dim, output);
    }
  }
}

void Attention::State::run_chunk(const void *slab, int index, int thread) {
  auto after = std::upper_bound(planned.begin(), planned.end(), index,
                                [](int i, const PlannedJob &p) { return i < p.first_chunk; });
  const PlannedJob &p = *(after - 1);
  const Chunk chunk = chunk_of(p.cut, shape.kv_heads, index - p.first_chunk);
  AttentionTask task = task_of(slab, p, chunk);
  task.scratch = scratch.data + thread * scratch_floats;
  if (shape.kv_is_f32)
    (p.cut.is_stream() ? kernels.stream_f32 : kernels.tile_f32)(task);
  else
    (p.cut.is_stream() ? kernels.stream_bf16 : kernels.tile_bf16)(task);

  if (!p.cut.is_split()) return;
  const int chunks_of_head = p.cut.tiles * p.cut.parts * p.cut.segments;
  for (int head = chunk.kv_head; head < chunk.kv_head + chunk.kv_heads; ++head) {
    std::atomic<int> &count = finished[p.first_counter + head];
    if (count.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks_of_head) merge(p, head);
  }
}

Attention::Attention(ThreadTeam &team, const Kernels &kernels, const AttentionShape &shape,
                     int /*max_step_tokens*/, int max_step_sequences, int /*max_context*/)
    : state_(std::make_unique<State>(team, kernels, shape, max_step_sequences)) {}

Attention::~Attention() = default;

void Attention::run(const void *slab, const AttentionJob *jobs, int job_count) {
  int chunks = state_->plan(jobs, job_count);
  auto body = [&](int chunk, int thread) { state_->run_chunk(slab, chunk, thread); };
  state_->team.run(chunks, body);
}

int64_t Attention::workspace_bytes(const AttentionShape &shape, int threads, int /*max_step_tokens*/,
                                   int max_step_sequences, int /*max_context*/) {
  int64_t sequence = partial_floats_of_sequence(shape) * 4 + int64_t{shape.kv_heads} * 4 + kSequenceBytes;
  return attention_scratch_floats(shape.head_dim) * 4 * threads + sequence * max_step_sequences;
}

}  // namespace sounder
