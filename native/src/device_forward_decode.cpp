// SPDX-License-Identifier: Apache-2.0
//
// Steps of one token a context. Where the device chooses every context's token, and they went on by what it
// chose the last time too, the same step one token on is queued behind this one: answers go on more often
// than not.
#include <algorithm>
#include <cstring>

#include "batch_rows.h"
#include "device_forward.h"
#include "plan.h"

namespace sounder {

namespace {

int32_t low_of(uint64_t bits) { return static_cast<int32_t>(bits); }
int32_t high_of(uint64_t bits) { return static_cast<int32_t>(bits >> 32); }
int32_t bits_of(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// All that a step depends on but its tokens.
std::vector<int32_t> description_of(const Batch &batch, const DeviceStep &step) {
  std::vector<int32_t> all;
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const DeviceStep::Sequence &s = step.sequences[i];
    const int blocks = s.position / kBlockTokens + 1;
    all.insert(all.end(), {batch.sequences[i].context, s.first_row, s.position});
    all.insert(all.end(), s.blocks, s.blocks + blocks);
    all.insert(all.end(), s.signatures.begin(), s.signatures.end());
    const TokenChoice &c = s.choice;
    all.insert(all.end(), {low_of(c.seed), high_of(c.seed), c.choice, bits_of(c.factor), c.top_k,
                           bits_of(c.top_p), bits_of(c.farthest)});
  }
  for (const DeviceStep::SampledRow &row : step.sampled) {
    all.insert(all.end(),
               {row.row, row.sequence, row.range.begin, row.range.end, row.range.budget, row.params->verify,
                row.params->attention, row.params->collisions, row.params->draws, low_of(row.params->seed),
                high_of(row.params->seed), bits_of(row.params->beta)});
  }
  return all;
}

}  // namespace

// One row a sequence, and its logits are asked for: the step of an answer that is being written.
bool DeviceForward::is_decode(const Batch &batch) const {
  if (batch.capture != nullptr || batch.row_token.size() > size_t{kLogitsRows}) return false;
  return std::all_of(batch.sequences.begin(), batch.sequences.end(), [](const BatchSequence &s) {
    return s.count == 1 && s.wants_logits(s.first_token) && s.hidden == nullptr;
  });
}

// False where it is not to be had: the next token opens a block or fills one, gives keys signatures, or more
// than it is asked for.
bool DeviceForward::make_next(const Batch &batch, DeviceStep &next) const {
  next = {};
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const BatchSequence &s = batch.sequences[i];
    const int position = step_.sequences[i].position + 1, in_block = position % kBlockTokens;
    const bool moves_on = in_block == 0 || in_block == kBlockTokens - 1 || position >= config_.context;
    const bool extends = s.lsh != nullptr && !s.lsh->lasts(position + 1);
    if (!s.choice || s.params.verify || extends || moves_on) return false;
    next.sequences.push_back({s.first_row, 1, position, s.blocks, places_of(s.lsh), *s.choice});
    next.tokens.push_back(-1);
    add_sampled_rows(s, static_cast<int>(i), position, next);
  }
  return host_ == nullptr;
}

void DeviceForward::decode(Batch &batch, const UseLogits &use_logits) {
  const bool logits = std::any_of(batch.sequences.begin(), batch.sequences.end(),
                                  [](const BatchSequence &s) { return !s.choice; });
  DeviceStep next;
  const bool has_next = !batch.tells_stages && make_next(batch, next);
  const Ahead before = std::exchange(ahead_, {});
  const bool follows =
      !before.step.empty() && before.step == description_of(batch, step_) && before.tokens == step_.tokens;
  const bool queues = has_next && follows;
  const Device::Decoded found = device_.decode(
      {step_, follows && before.is_queued && !batch.tells_stages, logits, queues ? &next : nullptr});
  if (has_next) ahead_ = {description_of(batch, next), {}, queues};
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    if (batch.sequences[i].choice) batch.sequences[i].chosen = found.chosen[i];
    ahead_.tokens.push_back(found.chosen[i].token);
  }
  lap_of_device(batch, SOUNDER_STAGE_OTHER);
  count_sampled(batch, config_.sampling_layers());
  read_statistics(batch);
  mark_cancelled(batch);
  if (logits) use_logits(found.logits, 0, static_cast<int>(batch.row_token.size()));
  batch.clock.lap(SOUNDER_STAGE_SAMPLING);
}

}  // namespace sounder
