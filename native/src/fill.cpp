// SPDX-License-Identifier: Apache-2.0
//
// Contexts filled with noise, for benches at lengths whose prefill nobody would wait for.
#include <vector>

#include "engine.h"
#include "failure.h"
#include "kv_noise.h"
#include "sounder.h"
#include "transformer.h"

namespace sounder {

void Transformer::fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) {
  const int d = config_.head_dim, first_block = first / kBlockTokens;
  const int end_block = (end + kBlockTokens - 1) / kBlockTokens;
  for (int layer = 0; layer < config_.layers; ++layer) {
    auto body = [&](int chunk, int) {
      const int block = first_block + chunk / config_.kv_heads, head = chunk % config_.kv_heads;
      std::vector<float> row(static_cast<size_t>(2) * d);
      const int from = std::max(first, block * kBlockTokens), to = std::min(end, (block + 1) * kBlockTokens);
      for (int position = from; position < to; ++position) {
        for (int i = 0; i < 2 * d; ++i) row[size_t(i)] = kv_noise(seed, layer, position, head, i, d);
        store_row(row.data(), row.data() + d,
                  blocks_.row(layer, blocks[block], head, position % kBlockTokens));
      }
    };
    team_.run((end_block - first_block) * config_.kv_heads, body);
    if (!blocks_.has_records(layer) || end / kBlockTokens <= first_block) continue;
    sealer_->run(blocks_, layer, {{blocks, first_block, end / kBlockTokens}});
  }
}

void Engine::fill_context(int32_t id, int32_t tokens, int32_t seed) {
  run_alone([&] {
    Context *context;
    LoadedModel *model;
    std::vector<int32_t> zeros;
    {
      std::lock_guard lock(mutex_);
      model = &loaded();
      context = &model->contexts.find(id);
      if (tokens < 1) fail(SOUNDER_INVALID, "A context is filled with at least one token, not %d.", tokens);
      model->contexts.begin(*context, tokens);
    }
    const int length = static_cast<int>(context->tokens.size());
    try {
      zeros.assign(static_cast<size_t>(tokens), 0);
      model->forward->fill_with_noise(context->blocks.data(), length, length + tokens, uint32_t(seed));
    } catch (...) {
      std::lock_guard lock(mutex_);
      model->contexts.roll_back(*context);
      throw;
    }
    std::lock_guard lock(mutex_);
    model->contexts.commit(*context, zeros.data(), tokens, -1, Context::kNeverSampled);
  });
}

}  // namespace sounder
