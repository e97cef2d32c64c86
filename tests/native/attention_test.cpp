// SPDX-License-Identifier: Apache-2.0
//
// Every level that this machine has against double precision. A kernel may be twice as far from it as the
// plain loop of its kind: float sums, and for the amx level queries and weights rounded to bf16.
#include "attention/attention.h"

#include <string>

#include "attention_reference.h"
#include "check.h"
#include "cpu/kernels.h"
#include "threads.h"

using namespace attention_reference;
using sounder::AttentionShape;

namespace {

constexpr float kUntouched = 12345.0f;
constexpr int kGap = 3;  // floats between the rows of queries and of results

struct Run {
  std::vector<std::vector<float>> q, out;
  std::vector<sounder::AttentionJob> jobs;
};

Run prepare(const Batch &batch) {
  const int width = batch.shape.heads * batch.shape.head_dim, stride = width + kGap;
  Run run;
  for (const Context &context : batch.contexts) {
    std::vector<float> q(static_cast<size_t>(context.tokens) * stride, std::nanf(""));
    for (int t = 0; t < context.tokens; ++t)
      std::copy_n(&context.q[size_t(t) * width], width, &q[size_t(t) * stride]);
    run.q.push_back(std::move(q));
    run.out.emplace_back(static_cast<size_t>(context.tokens) * stride, kUntouched);
  }
  for (size_t i = 0; i < batch.contexts.size(); ++i) {
    const Context &context = batch.contexts[i];
    run.jobs.push_back({run.q[i].data(), stride, run.out[i].data(), stride, context.tokens, context.position,
                        context.blocks.data()});
  }
  return run;
}

int step_tokens(const Batch &batch) {
  int tokens = 0;
  for (const Context &context : batch.contexts) tokens += context.tokens;
  return tokens;
}

Run attend_with(const sounder::Kernels &level, const Batch &batch, int threads) {
  sounder::ThreadTeam team(threads);
  sounder::Attention attention(team, level, batch.shape, step_tokens(batch),
                               static_cast<int>(batch.contexts.size()), 1 << 20);
  Run run = prepare(batch);
  attention.run(batch.slab(), run.jobs.data(), static_cast<int>(run.jobs.size()));
  return run;
}

std::string name_of(const Batch &batch, const Context &context, const char *level) {
  const AttentionShape &s = batch.shape;
  return std::string(level) + (s.kv_is_f32 ? " f32" : " bf16") + " heads " + std::to_string(s.heads) + "/" +
         std::to_string(s.kv_heads) + " d " + std::to_string(s.head_dim) + " window " +
         std::to_string(s.sliding_window) + " tokens " + std::to_string(context.tokens) + " at " +
         std::to_string(context.position);
}

double largest_error(const std::vector<double> &a, const std::vector<double> &b) {
  double error = 0;
  for (size_t i = 0; i < a.size(); ++i) error = std::max(error, std::fabs(a[i] - b[i]));
  return error;
}

std::vector<double> without_gaps(const std::vector<float> &out, int width) {
  std::vector<double> packed;
  for (size_t row = 0; row < out.size(); row += width + kGap) {
    packed.insert(packed.end(), out.begin() + row, out.begin() + row + width);
    for (int i = 0; i < kGap; ++i) CHECK(out[row + width + i] == kUntouched);
  }
  return packed;
}

void check_level(const sounder::Kernels &level, const Batch &batch, size_t index,
                 const std::vector<double> &exact, double tolerance, const Run &run) {
  const Context &context = batch.contexts[index];
  std::vector<double> got = without_gaps(run.out[index], batch.shape.heads * batch.shape.head_dim);
  bool all_finite = true;
  for (double x : got) all_finite = all_finite && std::isfinite(x);
  double error = largest_error(got, exact);
  if (all_finite && error <= tolerance) return;
  check::fail(__FILE__, __LINE__,
              (name_of(batch, context, level.name) + ": error " + std::to_string(error) + ", allowed " +
               std::to_string(tolerance) + (all_finite ? "" : ", not finite"))
                  .c_str());
}

void check_batch(const Batch &batch) {
  std::vector<std::vector<double>> exact;
  std::vector<double> float_error, bf16_error;
  for (const Context &context : batch.contexts) {
    exact.push_back(attend<double>(batch.shape, context, Loop::kExact));
    float_error.push_back(largest_error(attend<float>(batch.shape, context, Loop::kFloat), exact.back()));
    bf16_error.push_back(batch.shape.kv_is_f32
                             ? 0.0
                             : largest_error(attend<float>(batch.shape, context, Loop::kBf16), exact.back()));
  }
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  for (int l = 0; l < count; ++l) {
    const bool rounds = std::string(levels[l]->name) == "amx" && !batch.shape.kv_is_f32;
    Run run = attend_with(*levels[l], batch, 3);
    for (size_t i = 0; i < batch.contexts.size(); ++i)
      check_level(*levels[l], batch, i, exact[i], 2 * (rounds ? bf16_error[i] : float_error[i]) + 1e-6, run);
  }
}

void check_shape(int heads, int kv_heads, int head_dim, int window, const std::vector<Length> &lengths,
                 float spread = 1.0f) {
  for (bool is_f32 : {false, true})
    check_batch(
        make_batch({heads, kv_heads, head_dim, window, is_f32}, lengths, spread, 7u + heads + head_dim));
}

}  // namespace

TEST("the levels that run here are tested") {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  CHECK(count >= 1);
  for (int i = 0; i < count; ++i) std::printf("  level %s\n", levels[i]->name);
}

TEST("one token at every kind of position, for groups of 1 to 16 queries") {
  for (int group : {1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17})
    check_shape(2 * group, 2, 64, 0,
                {{1, 0}, {1, 1}, {1, 2}, {1, 31}, {1, 126}, {1, 127}, {1, 128}, {1, 300}});
}

TEST("one token with every head dimension") {
  for (int d : {2, 6, 16, 20, 30, 34, 48, 64, 80, 96, 112, 128, 160, 192, 250, 256})
    check_shape(6, 2, d, 0, {{1, 0}, {1, 40}, {1, 255}, {1, 256}, {1, 700}});
}

TEST("long contexts, split into segments and merged") {
  check_shape(6, 2, 64, 0, {{1, 511}, {1, 512}, {1, 513}, {1, 1100}, {1, 5000}, {1, 20000}});
  check_shape(2, 1, 20, 0, {{3, 3000}, {9, 2000}, {70, 1500}});
}

TEST("prompts from the start, of lengths around tiles and blocks") {
  check_shape(3, 1, 64, 0, {{17, 0}, {31, 0}, {32, 0}, {33, 0}, {127, 0}, {128, 0}, {129, 0}, {300, 0}});
}

TEST("prompts with every group size") {
  for (int group : {1, 2, 3, 4, 5, 8, 24, 40}) check_shape(2 * group, 2, 32, 0, {{50, 0}, {65, 100}});
  check_shape(300, 1, 16, 0, {{1, 130}, {5, 130}});
}

TEST("prompts with every head dimension") {
  for (int d : {2, 6, 20, 34, 64, 80, 96, 128, 192, 250, 256}) check_shape(4, 2, d, 0, {{70, 0}, {40, 135}});
}

TEST("sliding windows, shorter and longer than blocks, tiles and contexts") {
  for (int window : {1, 2, 31, 64, 127, 128, 129, 200, 1000})
    check_shape(4, 2, 32, window,
                {{1, 0}, {1, 127}, {1, 128}, {1, 900}, {2, 640}, {5, 254}, {90, 0}, {90, 210}});
}

TEST("decode, short and long prompts in one step") {
  check_shape(9, 3, 64, 0, {{1, 77}, {200, 0}, {1, 2000}, {4, 130}, {1, 0}, {33, 777}, {130, 60}});
  check_shape(8, 8, 128, 100, {{1, 77}, {200, 0}, {1, 2000}, {4, 130}, {17, 0}});
}

TEST("peaked attention and large logits") {
  // Many heads: the error of one query is a matter of luck, the largest of many is not.
  for (float spread : {3.0f, 10.0f}) check_shape(96, 12, 64, 0, {{1, 300}, {1, 1500}, {60, 200}}, spread);
}

TEST("what else is in the step and how many threads run it changes no bit") {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  Batch batch = make_batch({6, 2, 64, 0, false}, {{1, 3000}, {150, 20}, {1, 5}, {3, 1024}}, 1.0f, 3);
  for (int l = 0; l < count; ++l) {
    Run together = attend_with(*levels[l], batch, 3);
    for (size_t i = 0; i < batch.contexts.size(); ++i) {
      Batch alone = batch;
      alone.contexts = {batch.contexts[i]};
      CHECK(attend_with(*levels[l], alone, 1).out[0] == together.out[i]);
    }
  }
}

TEST("an Attention is used again and again with other batches") {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  Batch batch = make_batch({6, 2, 32, 0, false}, {{1, 2000}, {40, 700}, {1, 900}}, 1.0f, 5);
  sounder::ThreadTeam team(2);
  sounder::Attention attention(team, *levels[0], batch.shape, 64, 3, 4096);
  Run expected = attend_with(*levels[0], batch, 1);
  for (int round = 0; round < 20; ++round) {
    Run run = prepare(batch);
    int first = round % 3;
    attention.run(batch.slab(), run.jobs.data() + first, 3 - first);
    for (int i = first; i < 3; ++i) CHECK(run.out[i] == expected.out[i]);
  }
}

TEST("a NaN in a query stays in that query's row") {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  for (int tokens : {2, 60}) {
    Batch batch = make_batch({2, 1, 32, 0, false}, {{tokens, 50}}, 1.0f, 9);
    batch.contexts[0].q[32 + 5] = std::nanf("");  // token 0, head 1
    for (int l = 0; l < count; ++l) {
      Run run = attend_with(*levels[l], batch, 1);
      for (size_t i = 0; i < run.out[0].size(); ++i) CHECK(std::isnan(run.out[0][i]) == (i >= 32 && i < 64));
    }
  }
}

TEST("too many sequences, and shapes that cannot be, are errors") {
  int count = 0, errors = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  Batch batch = make_batch({2, 1, 32, 0, false}, {{1, 5}, {1, 5}}, 1.0f, 9);
  sounder::ThreadTeam team(1);
  sounder::Attention attention(team, *levels[0], batch.shape, 2, 1, 64);
  Run run = prepare(batch);
  try {
    attention.run(batch.slab(), run.jobs.data(), 2);
  } catch (const std::exception &) {
    ++errors;
  }
  for (AttentionShape shape : {AttentionShape{3, 2, 32, 0, false}, AttentionShape{2, 1, 258, 0, false},
                               AttentionShape{2, 1, 33, 0, false}, AttentionShape{2, 0, 32, 0, false}}) {
    try {
      sounder::Attention bad(team, *levels[0], shape, 2, 1, 64);
    } catch (const std::exception &) {
      ++errors;
    }
  }
  CHECK(errors == 5);
}
