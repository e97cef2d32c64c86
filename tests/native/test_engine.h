// SPDX-License-Identifier: Apache-2.0
//
// The ABI with the comfort that tests like: an engine that closes itself, and steps as values.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "sounder.h"
#include "tiny_model.h"

namespace tiny {

struct Sequence {
  int32_t context;
  std::vector<int32_t> tokens;
  std::vector<int32_t> ints = default_ints();
  std::vector<float> floats = {0, 1, 0, 1, 0, 0, 1, 1};

  // Greedy, and no token but the next is asked for.
  static std::vector<int32_t> default_ints() {
    std::vector<int32_t> ints(SOUNDER_STEP_INT_COUNT, 0);
    ints[SOUNDER_STEP_SAMPLE] = 1;
    ints[SOUNDER_STEP_ALLOWED_ROW] = -1;
    ints[SOUNDER_STEP_NEXT_TOKEN] = -1;
    return ints;
  }
  Sequence &with(int index, int32_t value) {
    ints[index] = value;
    return *this;
  }
  Sequence &with_float(int index, float value) {
    floats[index] = value;
    return *this;
  }
};

struct StepResult {
  int32_t status;
  std::vector<int32_t> statuses, sampled, top_tokens, given_top_tokens;
  std::vector<float> logprobs, top_logprobs, given, given_top_logprobs, statistics, stage_ms;
};

// What a step shares among its sequences.
struct StepExtras {
  std::vector<int32_t> bias_tokens;
  std::vector<float> bias_values;
  std::vector<uint32_t> allowed;
  int allowed_rows = 0;
};

class Engine {
 public:
  Engine() : handle_(sounder_create()) {}
  ~Engine() { sounder_close(handle_); }
  Engine(const Engine &) = delete;
  Engine &operator=(const Engine &) = delete;

  sounder_engine *handle() { return handle_; }

  int32_t configure(const Config &config) {
    std::vector<int32_t> ints = config.ints();
    std::vector<float> floats = config.floats(), frequencies = config.frequencies();
    return sounder_configure(handle_, ints.data(), int32_t(ints.size()), floats.data(),
                             int32_t(floats.size()), frequencies.data(), int32_t(frequencies.size()));
  }
  int32_t add_file(const std::string &path) {
    return sounder_add_file(handle_, reinterpret_cast<const uint8_t *>(path.data()), int32_t(path.size()));
  }
  int32_t add_tensor(int role, int layer, int file, int type, int rows, int columns, int64_t offset,
                     int interleaved = 0) {
    int32_t r = role, l = layer, f = file, t = type, n = rows, c = columns, i = interleaved;
    return sounder_add_tensors(handle_, 1, &r, &l, &f, &t, &n, &c, &i, &offset);
  }
  // Configures, states every tensor as float32 in this file (or as dummies) and loads.
  int32_t load(const Model &model, const TemporaryFile *file) {
    int32_t status = configure(model.config);
    if (status != SOUNDER_OK) return status;
    int32_t index = file == nullptr ? SOUNDER_NO_FILE : add_file(file->path());
    Packed packed = pack(model);
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      const Tensor &t = model.tensors[i];
      status = add_tensor(t.role, t.layer, index, SOUNDER_TYPE_F32, t.rows, t.columns, packed.offsets[i]);
      if (status != SOUNDER_OK) return status;
    }
    return sounder_load(handle_);
  }
  int32_t load(const Model &model) {
    TemporaryFile file(pack(model).bytes);
    return load(model, &file);
  }

  std::string error() {
    std::vector<uint8_t> text(4096);
    int32_t bytes = sounder_error_text(handle_, text.data(), int32_t(text.size()));
    return {text.begin(), text.begin() + bytes};
  }

  int32_t create() { return sounder_context_create(handle_); }
  int32_t length(int32_t context) { return sounder_context_length(handle_, context); }
  int64_t figure(int index) {
    std::vector<int64_t> figures(SOUNDER_INFO_COUNT);
    sounder_info_figures(handle_, figures.data(), SOUNDER_INFO_COUNT);
    return figures[index];
  }

  StepResult step(const std::vector<Sequence> &sequences, const StepExtras &extras = {}) {
    std::vector<int32_t> contexts, counts, tokens, ints;
    std::vector<float> floats;
    for (const Sequence &sequence : sequences) {
      contexts.push_back(sequence.context);
      counts.push_back(int32_t(sequence.tokens.size()));
      tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
      ints.insert(ints.end(), sequence.ints.begin(), sequence.ints.end());
      floats.insert(floats.end(), sequence.floats.begin(), sequence.floats.end());
    }
    size_t s = sequences.size(), t = tokens.size(), most = SOUNDER_MAX_ALTERNATIVES;
    StepResult r{0,
                 std::vector<int32_t>(s),
                 std::vector<int32_t>(s),
                 std::vector<int32_t>(s * most),
                 std::vector<int32_t>(t * most),
                 std::vector<float>(s),
                 std::vector<float>(s * most),
                 std::vector<float>(t),
                 std::vector<float>(t * most),
                 std::vector<float>(s * SOUNDER_STATISTIC_COUNT),
                 std::vector<float>(SOUNDER_STAGE_COUNT)};
    r.status = sounder_step(handle_, int32_t(s), contexts.data(), counts.data(), tokens.data(), ints.data(),
                            floats.data(), extras.bias_tokens.data(), extras.bias_values.data(),
                            int32_t(extras.bias_tokens.size()), extras.allowed.data(), extras.allowed_rows,
                            r.statuses.data(), r.sampled.data(), r.logprobs.data(), r.top_tokens.data(),
                            r.top_logprobs.data(), r.given.data(), r.given_top_tokens.data(),
                            r.given_top_logprobs.data(), r.statistics.data(), r.stage_ms.data());
    return r;
  }

  std::vector<float> captured(int what, int layer = 0) {
    int32_t count = sounder_capture_read(handle_, what, layer, nullptr, 0);
    std::vector<float> values(count > 0 ? size_t(count) : 0);
    sounder_capture_read(handle_, what, layer, values.data(), count);
    return values;
  }

 private:
  sounder_engine *handle_;
};

// Whether there is a GPU to test; says so once when there is none.
inline bool has_gpu() {
  static const bool there = [] {
    Engine engine;
    int64_t figures[SOUNDER_DEVICE_COUNT];
    if (sounder_device_figures(engine.handle(), 0, figures, SOUNDER_DEVICE_COUNT) == SOUNDER_OK) return true;
    std::printf("  no GPU is tested: %s\n", engine.error().c_str());
    return false;
  }();
  return there;
}

}  // namespace tiny
