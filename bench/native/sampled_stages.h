// SPDX-License-Identifier: Apache-2.0
//
// The stages of one way of sampling, one by one, over the same chunks as the driver's: what the driver does
// in one go, but with the lists of keys kept in between.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <vector>

#include "attention/attention_kernels.h"
#include "sampled/gather.h"
#include "sampled/sampled_views.h"
#include "sampled_method.h"

namespace bench {

class Stages {
 public:
  explicit Stages(const Method &method)
      : method_(method),
        views_(method.level().name, method.shape(), method.team().size(), 1, method.data().shape().length),
        finished_(static_cast<size_t>(method.shape().attention.kv_heads)) {
    if (!method.is_sketch()) return;
    const AttentionShape &a = method.shape().attention;
    signs_ = rotation_signs(a.head_dim, method.shape().index_seed);
    prepared_ = Mapping(sketch_query_bytes(a.head_dim) * a.heads, "prepared queries");
    scores_ = Mapping(int64_t{2} * a.heads * method.data().shape().length, "scores");
  }

  // Readies the stages for a query: its sink and tail are attended, its sketch is prepared.
  void aim(int query) {
    job_ = method_.job(query);
    views_.make(0, method_.data().slab(), method_.records(), &job_, 1);
    size_t next = 0;
    for (View &view : views_.all()) {
      for (int segment = 0; segment < view.segments; ++segment, ++next) {
        if (next == chunks_.size()) chunks_.push_back(make_chunk(view));
        chunks_[next].view = &view;
        chunks_[next].segment = segment;
      }
      attend_exact(view);
      if (method_.is_sketch()) prepare(view.strategy_view);
    }
  }

  // Everything up to the lists of keys.
  void select() {
    int phases = 0;
    for (const View &view : views_.all()) phases = std::max(phases, view.phases);
    for (int phase = 0; phase < phases; ++phase) run_phase(phase);
    for_chunks([&](Chunk &chunk, int) {
      const int lists = static_cast<int>(chunk.lists.size());
      for (int first = 0; first < lists; first += kListsAtOnce) {
        const int count = std::min(kListsAtOnce, lists - first);
        Choice own[kListsAtOnce];
        for (int i = 0; i < count; ++i) {
          List &list = chunk.lists[static_cast<size_t>(first + i)];
          own[i] = {list.keys.data(), list.offsets.data(), static_cast<int>(list.keys.size())};
        }
        chunk.view->strategy->choose_heads(chunk.view->strategy_view, chunk.segment, first, count, own);
        for (int i = 0; i < count; ++i) chunk.lists[static_cast<size_t>(first + i)].choice = own[i];
      }
    });
  }

  void gather() {
    for_chunks([&](Chunk &chunk, int thread) {
      for (size_t i = 0; i < chunk.lists.size(); ++i)
        attend(*chunk.view, chunk.lists[i].choice, static_cast<int>(i), chunk.lists.size() == 1, thread);
    });
  }

  // Every line of the rows that gather() reads, in its order.
  void touch() {
    for_chunks([&](Chunk &chunk, int) {
      for (const List &list : chunk.lists) touch_rows(chunk.view->strategy_view, list.choice);
    });
  }

  // Rows that gather() reads, again for each head that has a list of its own.
  int64_t rows() const {
    int64_t rows = 0;
    for (const Chunk &chunk : chunks_)
      for (const List &list : chunk.lists) rows += list.choice.count;
    return rows;
  }

  // Sketches only: the scan of all records, the queries being prepared.
  void scan() {
    for_chunks([&](Chunk &chunk, int) { scan_segment(chunk.view->strategy_view, chunk.segment); });
  }

 private:
  struct List {
    std::vector<int32_t> keys;
    std::vector<float> offsets;
    Choice choice{};
  };
  struct Chunk {
    View *view;
    int segment;
    std::vector<List> lists;  // one for all heads, or one each
  };

  template <typename F>
  void for_chunks(const F &f) {
    auto body = [&](int index, int thread) { f(chunks_[static_cast<size_t>(index)], thread); };
    method_.team().run(static_cast<int>(chunks_.size()), body);
  }

  Chunk make_chunk(const View &view) const {
    const StrategyView &s = view.strategy_view;
    const size_t capacity = static_cast<size_t>(most_segment_keys(method_.data().shape().length));
    Chunk chunk{};
    chunk.lists.resize(view.strategy->is_shared(s) ? 1 : static_cast<size_t>(s.heads));
    for (List &list : chunk.lists) {
      list.keys.resize(capacity);
      list.offsets.resize(capacity);
    }
    return chunk;
  }

  void attend_exact(View &view) {
    const StrategyView &s = view.strategy_view;
    AttentionTask task{};
    task.rows = s.rows;
    task.block_stride = s.block_stride;
    task.blocks = s.blocks;
    task.tokens = 1;
    task.heads = s.heads;
    task.head_dim = s.head_dim;
    task.position = job_.position;
    task.q = s.q;
    task.partial_head_stride = 2 * (s.head_dim + 2);
    task.scratch = views_.scratch_of(0).floats;
    const auto stream = attention_kernels(method_.level().name)->stream_bf16;
    task.partial = view.exact;
    task.key_end = s.begin;
    stream(task);
    task.partial += s.head_dim + 2;
    task.key_begin = s.end;
    task.key_end = job_.position + 1;
    stream(task);
  }

  void run_phase(int phase) {
    struct Part {
      View *view;
      int segment, of;
    };
    std::vector<Part> parts;
    for (View &view : views_.all()) {
      const int of = view.strategy->is_segmented(phase) ? view.segments : 1;
      for (int segment = 0; segment < of; ++segment) parts.push_back({&view, segment, of});
    }
    for (std::atomic<int> &count : finished_) count = 0;
    auto body = [&](int index, int) {
      const Part &part = parts[static_cast<size_t>(index)];
      part.view->strategy->run_phase(phase, part.view->strategy_view, part.segment);
      std::atomic<int> &count = finished_[static_cast<size_t>(part.view->strategy_view.kv_head)];
      if (count.fetch_add(1, std::memory_order_acq_rel) + 1 == part.of)
        part.view->strategy->finish_phase(phase, part.view->strategy_view);
    };
    method_.team().run(static_cast<int>(parts.size()), body);
  }

  void attend(View &view, const Choice &choice, int head, bool is_shared, int thread) {
    const StrategyView &s = view.strategy_view;
    GatherTask task{};
    task.rows = s.rows;
    task.block_stride = s.block_stride;
    task.blocks = s.blocks;
    task.keys = choice.keys;
    task.count = choice.count;
    task.offsets = choice.certain ? nullptr : choice.offsets;
    task.collision = choice.by_collision ? &choice.collision : nullptr;
    task.q = s.q + int64_t{head} * s.head_dim;
    task.queries = is_shared ? s.heads : 1;
    task.head_dim = s.head_dim;
    task.signs = view.signs;
    std::vector<float> states(size_t(s.heads) * sampled_floats(s.head_dim));
    task.states = states.data();
    task.state_stride = sampled_floats(s.head_dim);
    task.scratch = views_.scratch_of(thread).floats;
    gather_kernels(method_.level().name)->gather_bf16(task);
  }

  static void touch_rows(const StrategyView &s, const Choice &choice) {
    constexpr int kAhead = 8;
    const int64_t bytes = int64_t{4} * s.head_dim;
    auto row = [&](int i) {
      const int key = choice.keys[i];
      return static_cast<const char *>(s.rows) +
             2 * (s.blocks[key / kBlockTokens] * s.block_stride + key % kBlockTokens * 2 * s.head_dim);
    };
    uint64_t sum = 0;
    for (int i = 0; i < choice.count; ++i) {
      if (i + kAhead < choice.count) {
        const char *later = row(i + kAhead);
        for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch(later + at, _MM_HINT_T0);
      }
      const char *now = row(i);
      for (int64_t at = 0; at < bytes; at += 64) sum += *reinterpret_cast<const uint64_t *>(now + at);
    }
    __asm__ volatile("" ::"r"(sum));  // keeps the loads
  }

  char *prepared(int head) const {
    return static_cast<char *>(prepared_.data()) + head * sketch_query_bytes(method_.shape().index.head_dim);
  }

  void prepare(const StrategyView &s) {
    for (int head = 0; head < s.heads; ++head)
      sketch_kernels(method_.level().name)
          ->prepare(s.q + int64_t{head} * s.head_dim, signs_.data(), s.head_dim,
                    method_.shape().index.sketch_bits, s.params->beta, prepared(s.kv_head * s.heads + head));
  }

  void scan_segment(const StrategyView &s, int segment) {
    const int first = segment * s.segment_keys;
    ScanTask task;
    task.records = s.records;
    task.record_stride = s.record_stride;
    task.blocks = s.blocks;
    task.first_block = first / kIndexTokens;
    task.end_block = std::min(s.end, first + s.segment_keys) / kIndexTokens;
    task.head_dim = s.head_dim;
    task.bits = method_.shape().index.sketch_bits;
    task.queries = prepared(s.kv_head * s.heads);
    task.heads = s.heads;
    task.score_stride = method_.data().shape().length;
    task.scores = static_cast<int16_t *>(scores_.data()) + s.kv_head * s.heads * task.score_stride;
    sketch_kernels(method_.level().name)->scan(task);
  }

  const Method &method_;
  SampledViews views_;
  std::vector<std::atomic<int>> finished_;
  SampledJob job_{};
  std::vector<Chunk> chunks_;
  std::vector<float> signs_;
  Mapping prepared_, scores_;
};

}  // namespace bench
