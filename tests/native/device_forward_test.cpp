// SPDX-License-Identifier: Apache-2.0
//
// Which rows a device is asked to compute, over one that writes down what it was asked.
#include "device_forward.h"

#include "check.h"
#include "failure.h"
#include "fake_device.h"
#include "sounder.h"

namespace {

using sounder::Batch;
using sounder::BatchSequence;
using sounder::DeviceStep;

constexpr int kLayers = 3, kVocabulary = 5, kHidden = 2;

// The logits of a row are its token and zeros; its hidden state is its token and 1.
class FakeDevice : public check::FakeDevice {
 public:
  std::string calls;
  DeviceStep step, next;
  std::vector<int32_t> kept;
  std::function<void(int layer)> during_layer = [](int) {};
  std::function<void()> during_decode = [] {};

  void attend(int, const float *, const DeviceStep &given, float *) override { step = given, calls += "a"; }
  void begin(const DeviceStep &given) override { step = given, calls += "b"; }
  void project(int) override { calls += "p"; }
  void complete(int layer) override {
    calls += "c";
    during_layer(layer);
  }
  void keep(const DeviceStep &given, const std::vector<int32_t> &rows) override {
    step = given, kept = rows, calls += "k";
  }
  void normalise() override { calls += "n"; }
  const float *logits(int first, int count) override {
    calls += "l";
    return make_logits(first, count);
  }
  // Finds the token 7 after each row.
  Decoded decode(const DecodeCall &call) override {
    step = call.step;
    calls += call.is_running ? "D" : "d";
    if (call.next != nullptr) calls += "+", next = *call.next;
    during_decode();
    chosen_.assign(step.tokens.size(), {7, -0.5f});
    return {chosen_.data(), call.logits ? make_logits(0, int(step.tokens.size())) : nullptr};
  }
  void await_block(int32_t) override {}
  // Each sequence read as many rows as its number says, and one more.
  std::vector<sounder::SampledStatistics> statistics() override {
    std::vector<sounder::SampledStatistics> all(step.sequences.size());
    for (size_t i = 0; i < all.size(); ++i) all[i].chosen_rows = double(i + 1);
    calls += "s";
    return all;
  }
  std::vector<float> read_rows(int) override {
    std::vector<float> values;
    for (int32_t token : step.tokens) values.insert(values.end(), {float(token), 1});
    return values;
  }
  void wait() override { calls += "w"; }

 private:
  const float *make_logits(int first, int count) {
    logits_.assign(size_t(count) * kVocabulary, 0);
    for (int row = 0; row < count; ++row)
      logits_[size_t(row) * kVocabulary] = float(step.tokens[size_t(first + row)]);
    return logits_.data();
  }

  std::vector<float> logits_;
  std::vector<sounder::ChosenToken> chosen_;
};

struct World {
  World() {
    config.layers = kLayers;
    config.hidden = kHidden;
    config.vocabulary = kVocabulary;
    config.max_step_tokens = 64;
    config.dense_layers.assign(kLayers, true);
    batch.stop = &stop;
    batch.thousandths = &thousandths;
  }
  // Tokens are counted on from 10 times the sequence's number.
  BatchSequence &add(int count, int position, bool sample) {
    BatchSequence sequence{};
    sequence.index = int(batch.sequences.size());
    sequence.first_token = int(batch.tokens.size());
    sequence.count = count;
    sequence.position = position;
    sequence.blocks = blocks;
    sequence.cancel = &cancel[sequence.index];
    sequence.sample = sample;
    for (int i = 0; i < count; ++i) batch.tokens.push_back(10 * sequence.index + i);
    batch.sequences.push_back(sequence);
    return batch.sequences.back();
  }
  // The first logit of each row that came.
  std::vector<int> run() {
    std::vector<int> seen;
    sounder::DeviceForward(config, device).run(batch, [&](const float *logits, int, int count) {
      for (int row = 0; row < count; ++row) seen.push_back(int(logits[row * kVocabulary]));
    });
    return seen;
  }

  sounder::ModelConfig config{};
  Batch batch;
  FakeDevice device;
  std::atomic<bool> stop{false}, cancel[4] = {};
  std::atomic<int32_t> thousandths{0};
  int32_t blocks[2] = {7, 8};
};

}  // namespace

TEST("a step of one token a context, each followed by another, is one call") {
  World world;
  world.add(1, 5, true);
  world.add(1, 130, true);
  CHECK(world.run() == (std::vector<int>{0, 10}));
  CHECK(world.device.calls == "d");
  const DeviceStep &step = world.device.step;
  CHECK(step.sequences[1].first_row == 1 && step.sequences[1].position == 130);
  CHECK(step.sequences[1].rows == 1 && step.sequences[1].blocks == world.blocks);
}

TEST("what is queued when a decode step fails is waited for, before its blocks are given back") {
  World world;
  world.add(1, 5, true);
  world.device.during_decode = [] {
    sounder::fail(SOUNDER_INTERNAL, "The GPU failed to run a recorded step.");
  };
  bool failed = false;
  try {
    world.run();
  } catch (const sounder::Failure &) {
    failed = true;
  }
  CHECK(failed);
  CHECK(world.device.calls == "dw");
}

TEST("where nobody asks what follows, the last layer ends with keys and values, and is waited for") {
  World world;
  world.add(3, 0, false);
  CHECK(world.run().empty());
  CHECK(world.device.calls == "bpcpcpw");
}

TEST("in the last layer only rows stay whose logits are asked for") {
  World world;
  world.add(3, 100, true);
  world.add(2, 0, false);
  world.add(2, 40, false).score = true;
  CHECK(world.run() == (std::vector<int>{2, 20, 21}));
  CHECK(world.device.calls == "bpcpcpkcnlw");
  CHECK(world.device.kept == (std::vector<int32_t>{2, 5, 6}));
  const DeviceStep &step = world.device.step;
  CHECK(step.sequences[0].rows == 1 && step.sequences[0].position == 102);
  CHECK(step.sequences[1].rows == 0);
  CHECK(step.sequences[2].first_row == 1 && step.sequences[2].position == 40);
}

TEST("a context that is cancelled leaves after the layer, the others go on") {
  World world;
  world.add(3, 0, true);
  world.add(2, 9, true);
  world.device.during_layer = [&](int layer) { world.cancel[0] = layer == 0 || world.cancel[0]; };
  CHECK(world.run() == (std::vector<int>{11}));
  CHECK(world.device.calls == "bpckpcpkcnlw");
  CHECK(world.batch.sequences[0].cancelled && !world.batch.sequences[1].cancelled);

  World whole;
  whole.add(3, 0, true);
  whole.device.during_layer = [&](int layer) { whole.stop = layer == 1; };
  CHECK(whole.run().empty());
  CHECK(whole.device.calls == "bpcpcw");
}

TEST("hidden states are added up over all rows of those who ask") {
  World world;
  float sums[2][kHidden] = {};
  world.add(3, 0, false).hidden = sums[0];
  world.add(1, 0, true).hidden = sums[1];
  CHECK(world.run() == (std::vector<int>{10}));
  CHECK(sums[0][0] == 0 + 1 + 2 && sums[0][1] == 3 && sums[1][0] == 10);
  CHECK(world.batch.sequences[0].hidden_tokens == 3 && world.batch.sequences[1].hidden_tokens == 1);
}

TEST("rows from the given position on sample, and what their last ones found is theirs alone") {
  World world;
  world.config.sketch_bits = 2;
  world.config.window = 64;
  world.config.sink = 4;
  world.config.least_rows = 100;
  world.config.dense_layers = {true, false, false};
  const auto sampling = [](BatchSequence &sequence, int from) {
    sequence.params.attention = SOUNDER_ATTENTION_SKETCH;
    sequence.params.sampled_from = from;
    sequence.params.budget = 0.25f;
  };
  sampling(world.add(3, 1000, true), 1001);
  world.add(1, 1000, true);
  sampling(world.add(1, 100, true), 0);  // too few keys
  sampling(world.add(2, 1000, false), 0);
  world.run();
  CHECK(world.device.calls == "bpcpcpkcnlws");
  // After the last layer's rows have gone: of the first sequence its last.
  const DeviceStep &step = world.device.step;
  CHECK(step.sampled.size() == 1 && step.sampled[0].row == 0 && step.sampled[0].position == 1002);
  CHECK(step.sampled[0].is_last && step.sampled[0].params == &world.batch.sequences[0].params);
  // 1,003 keys less the window are 939, whole blocks of which 896.
  CHECK(step.sampled[0].range.begin == 4 && step.sampled[0].range.end == 896);
  CHECK(step.sampled[0].range.budget == 223);
  const std::vector<BatchSequence> &all = world.batch.sequences;
  CHECK(all[0].sampled_from == 1001 && all[1].sampled_from == INT32_MAX && all[2].sampled_from == INT32_MAX);
  CHECK(all[3].sampled_from == 1000 && all[3].statistics.layers == 1);
  CHECK(all[0].statistics.layers == 2 && all[0].statistics.offloaded == 892);
  CHECK(all[0].statistics.chosen_rows == 1 && all[1].statistics.layers == 0);
}

TEST("a decode step of rows that sample is one call, and all sampling layers are counted") {
  World world;
  world.config.sketch_bits = 2;
  world.config.window = 64;
  world.config.least_rows = 100;
  world.config.dense_layers = {true, false, false};
  BatchSequence &sequence = world.add(1, 2000, true);
  sequence.params.attention = SOUNDER_ATTENTION_SKETCH;
  sequence.params.budget = 0.1f;
  world.run();
  CHECK(world.device.calls == "ds");
  CHECK(world.device.step.sampled.size() == 1);
  CHECK(world.batch.sequences[0].statistics.layers == 2 && world.batch.sequences[0].sampled_from == 2000);
}

namespace {

// Steps of one context, each by a forward that has seen those before it.
struct Answering {
  World world;
  sounder::DeviceForward forward{world.config, world.device};

  // One step on from a position, with this token, for the next one alone.
  BatchSequence &step(int position, int32_t token, int context = 5) {
    world.batch.sequences.clear();
    world.batch.tokens.clear();
    BatchSequence &own = world.add(1, position, true);
    own.choice = sounder::TokenChoice{};
    own.context = context;
    world.batch.tokens = {token};
    forward.run(world.batch, [](const float *, int, int) { CHECK(false); });
    return world.batch.sequences[0];
  }
};

}  // namespace

TEST("who goes on by what the device chose gets a step queued ahead, and takes it the next time") {
  Answering answering;
  World &world = answering.world;
  world.config.context = 1000;
  const BatchSequence &first = answering.step(10, 3);
  CHECK(first.chosen && first.chosen->token == 7 && first.chosen->logprob == -0.5f);
  answering.step(11, 7);
  CHECK(world.device.calls == "dd+");
  CHECK(world.device.next.tokens == (std::vector<int32_t>{-1}));
  CHECK(world.device.next.sequences[0].position == 12);
  answering.step(12, 7);
  answering.step(13, 8);  // another token: what was queued was in vain
  answering.step(14, 7);
  answering.step(15, 7, 6);  // another context
  answering.step(16, 7, 6);
  CHECK(world.device.calls == "dd+D+dd+dd+");
}

TEST("no step is queued ahead that opens a block or fills one, or is past the longest context") {
  Answering answering;
  World &world = answering.world;
  world.config.context = 1000;
  for (int position = 124; position < 131; ++position) answering.step(position, 7);
  // 127 fills a block and 128 opens one.
  CHECK(world.device.calls == "dd+Dddd+D+");
  Answering end;
  end.world.config.context = 60;
  for (int position = 57; position < 60; ++position) end.step(position, 7);
  CHECK(end.world.device.calls == "dd+D");
}
