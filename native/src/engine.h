// SPDX-License-Identifier: Apache-2.0
//
// An engine: what the functions of the ABI act on. All methods fail with a Failure and may be called from any
// thread; load and step run on the engine's own thread, one at a time.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "capture.h"
#include "contexts.h"
#include "device.h"
#include "engine_thread.h"
#include "forward.h"
#include "saved/transfer.h"
#include "saved_call.h"
#include "step_call.h"
#include "tensors.h"
#include "weights.h"

namespace sounder {

// What a loaded engine has, in the order in which the parts need each other.
struct LoadedModel {
  LoadedModel(const ModelConfig &config, const Kernels &kernels);

  ModelConfig config;
  const Kernels &kernels;
  ThreadTeam team;
  std::unique_ptr<Device> device;  // nullptr: the CPU computes
  Weights weights;
  KvBlocks blocks;
  std::shared_ptr<LshIndex> lsh;  // nullptr: no lsh tables
  Contexts contexts;
  std::unique_ptr<Forward> forward;
  Sampler sampler;
};

class Engine {
 public:
  void configure(const int32_t *ints, int32_t int_count, const float *floats, int32_t float_count,
                 const float *frequencies, int32_t frequency_count);
  void set_dense_layers(const int32_t *layers, int32_t count);
  int32_t add_file(const uint8_t *path, int32_t path_bytes);
  void add_tensors(const std::vector<TensorPlace> &places);
  void load();
  int32_t load_progress() const { return load_thousandths_.load(); }
  void stop() { thread_.stop(); }
  void stop_for_good() {
    thread_.stop_for_good();
    transfers_.stop(true);
  }

  void info_figures(int64_t *figures);
  std::string info_text();

  int32_t create_context();
  int32_t fork_context(int32_t id, int32_t tokens);
  void truncate_context(int32_t id, int32_t tokens);
  void free_context(int32_t id);
  int32_t context_length(int32_t id);
  int32_t exact_tokens(int32_t id);

  // Returns the sentence of the last context that failed, or "".
  std::string step(const StepCall &call);
  int32_t read_hidden(int32_t sequence, float *values, int32_t capacity);
  void cancel(int32_t id);
  int32_t progress(int32_t id);

  void attend(const AttendCall &call);
  void fill_context(int32_t id, int32_t tokens, int32_t seed);

  // Beside steps, one at a time: saved_call.cpp.
  void save_context(const SaveCall &call);
  int32_t restore_context(int32_t tokens, const std::string &path, const SavedIdentity &identity);
  void describe_saved(const std::string &path, const SavedIdentity &identity, const DescriptionOut &out);
  void cancel_transfer() { transfers_.stop(); }
  int32_t transfer_progress() const { return transfers_.thousandths(); }

  void enable_capture(bool enabled);
  int32_t read_capture(int32_t what, int32_t layer, float *values, int32_t capacity);

 private:
  friend class StepRun;  // engine_step.cpp: one step

  void run_load();
  LoadedModel &loaded();
  LoadedModel &loaded_now();  // by itself, without the mutex
  void require_unloaded() const;
  void run_alone(const std::function<void()> &job);

  // Guards all that follows but the atomics. Not held while a load or a step computes.
  std::mutex mutex_;
  std::optional<ModelConfig> config_;
  std::vector<std::string> files_;
  TensorList tensors_;
  bool loading_ = false;
  std::unique_ptr<LoadedModel> loaded_;
  std::vector<std::vector<float>> hidden_;  // of the last step's sequences
  bool capture_enabled_ = false;
  std::shared_ptr<Capture> capture_;  // of the last step

  std::atomic<int32_t> load_thousandths_{0};
  std::atomic<int32_t> step_thousandths_{0};
  Transfers transfers_;
  EngineThread thread_;  // last: it ends before what its jobs use
};

}  // namespace sounder
