// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_plan.h"

#include <set>
#include <tuple>

#include "check.h"

using sounder::AttentionShape;
using sounder::kBlockTokens;

namespace {

void check_cut(const AttentionShape &shape, int tokens, int position, int threads = 16) {
  const sounder::AttentionKernels &kernels = *sounder::attention_kernels("scalar");
  sounder::JobCut cut = sounder::cut_job(shape, kernels, threads, tokens, position);
  const int group = shape.heads / shape.kv_heads;
  CHECK(cut.tiles * cut.tokens_in_tile >= tokens && (cut.tiles - 1) * cut.tokens_in_tile < tokens);
  CHECK(cut.parts * cut.heads_in_part >= group && (cut.parts - 1) * cut.heads_in_part < group);
  CHECK(cut.tokens_in_tile * cut.heads_in_part <= kernels.tile_rows_bf16);
  const int blocks = cut.end_block - cut.first_block;
  CHECK(cut.segments * cut.blocks_in_segment >= blocks &&
        (cut.segments - 1) * cut.blocks_in_segment < blocks);
  CHECK(cut.segments == 1 || cut.segments * tokens <= sounder::kMostPartials);

  std::set<std::tuple<int, int, int, int>> seen;
  for (int i = 0; i < cut.chunks; ++i) {
    sounder::Chunk chunk = sounder::chunk_of(cut, shape.kv_heads, i);
    CHECK(chunk.tile >= 0 && chunk.tile < cut.tiles && chunk.kv_head >= 0 && chunk.kv_head < shape.kv_heads);
    CHECK(chunk.part >= 0 && chunk.part < cut.parts && chunk.segment >= 0 && chunk.segment < cut.segments);
    CHECK(chunk.kv_heads >= 1 && chunk.kv_heads <= (cut.is_stream() ? sounder::kMostStreamHeads : 1));
    CHECK(chunk.kv_head + chunk.kv_heads <= shape.kv_heads);
    for (int head = chunk.kv_head; head < chunk.kv_head + chunk.kv_heads; ++head)
      CHECK(seen.insert({chunk.tile, head, chunk.part, chunk.segment}).second);
  }
  CHECK(static_cast<int>(seen.size()) == cut.tiles * shape.kv_heads * cut.parts * cut.segments);
}

}  // namespace

TEST("every cut covers its tokens, heads and blocks, each once") {
  for (int group : {1, 2, 3, 7, 8, 71, 96, 97, 300})
    for (int tokens : {1, 2, 3, 4, 5, 31, 32, 33, 64, 127, 128, 129, 1000})
      for (int position : {0, 1, 127, 128, 4095, 98304})
        check_cut({2 * group, 2, 64, 0, false}, tokens, position);
  for (int threads : {1, 2, 7, 64})
    for (int kv_heads : {1, 3, 8, 9, 31})
      for (int position : {0, 1000, 98304})
        check_cut({2 * kv_heads, kv_heads, 64, 0, false}, 1, position, threads);
}

TEST("segments are the same for any number of threads") {
  const sounder::AttentionKernels &kernels = *sounder::attention_kernels("scalar");
  for (int position : {1000, 16384, 98304}) {
    const auto one = sounder::cut_job({32, 8, 128, 0, false}, kernels, 1, 1, position);
    const auto many = sounder::cut_job({32, 8, 128, 0, false}, kernels, 64, 1, position);
    CHECK(one.segments == many.segments && one.blocks_in_segment == many.blocks_in_segment);
  }
}

TEST("few threads read all KV heads of a block in one piece, many share them") {
  const sounder::AttentionKernels &kernels = *sounder::attention_kernels("scalar");
  CHECK(sounder::cut_job({32, 8, 128, 0, false}, kernels, 2, 1, 16384).kv_heads_in_chunk == 8);
  CHECK(sounder::cut_job({32, 8, 128, 0, false}, kernels, 64, 1, 16384).kv_heads_in_chunk == 1);
}

TEST("a window leaves out the blocks before it") {
  const sounder::AttentionKernels &kernels = *sounder::attention_kernels("scalar");
  sounder::JobCut cut = sounder::cut_job({4, 2, 64, 200, false}, kernels, 16, 1, 1000);
  CHECK(cut.first_block == 801 / kBlockTokens);
  CHECK(cut.end_block == 8);
  check_cut({4, 2, 64, 200, false}, 1, 1000);
  check_cut({4, 2, 64, 200, false}, 300, 1000);
  check_cut({4, 2, 64, 5000, false}, 3, 1000);
}

TEST("one new token on a long context gives chunks for many threads") {
  const sounder::AttentionKernels &kernels = *sounder::attention_kernels("scalar");
  CHECK(sounder::cut_job({9, 3, 64, 0, false}, kernels, 16, 1, 16384).chunks >= 64);
}

TEST("the scratch formula is linear in threads and sequences, and is what the header's formula says") {
  AttentionShape shape{9, 3, 64, 0, false};
  auto bytes = [&](int threads, int sequences) {
    return sounder::Attention::workspace_bytes(shape, threads, 512, sequences, 32768);
  };
  CHECK(bytes(2, 1) - bytes(1, 1) == 4 * (512 * 64 + 17408));
  CHECK(bytes(1, 2) - bytes(1, 1) == 512 * 9 * (64 + 2) + 4 * 3 + 256);
  CHECK(bytes(0, 0) == 0);
}
