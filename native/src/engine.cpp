// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include <algorithm>

#include "config.h"
#include "cuda/loader.h"
#include "device_forward.h"
#include "failure.h"
#include "plan.h"
#include "sounder.h"
#include "transformer.h"

namespace sounder {

namespace {

// The device knows what fits into its own memory.
void require_host_fits(const ModelConfig &config, int64_t total) {
  const int64_t lsh = config.lsh_on_device() ? 0 : planned_lsh_bytes(config);
  const int64_t kv = host_kv_bytes(config) + lsh, work = host_workspace_bytes(config);
  if (kv + work <= total) return;
  fail(
      SOUNDER_OUT_OF_MEMORY,
      "The KV cache of %d layers takes %s of host memory, and the CPU %s to work in; there are %s. A smaller "
      "KV cache takes less.",
      config.host_layers, size_text(kv).c_str(), size_text(work).c_str(), size_text(total).c_str());
}

// Memory that is not there would be found missing only when it is touched, by the system's out-of-memory
// killer; so what cannot fit is refused before.
void require_fits(const ModelConfig &config) {
  int64_t memory[SOUNDER_MACHINE_COUNT];
  if (sounder_machine_figures(memory, SOUNDER_MACHINE_COUNT) != SOUNDER_OK) return;
  if (config.device >= 0) return require_host_fits(config, memory[SOUNDER_MACHINE_MEMORY_TOTAL]);
  int64_t weights = weight_bytes(config), kv = block_bytes(config) * config.kv_blocks;
  int64_t lsh = planned_lsh_bytes(config);
  int64_t workspace = workspace_bytes(config), total = memory[SOUNDER_MACHINE_MEMORY_TOTAL];
  if (weights + kv + lsh + workspace <= total) return;
  fail(SOUNDER_OUT_OF_MEMORY,
       "The engine takes %s for weights, %s for the KV cache and %s to work in; there are %s of memory. A "
       "smaller KV cache or smaller steps take less.",
       size_text(weights).c_str(), size_text(kv + lsh).c_str(), size_text(workspace).c_str(),
       size_text(total).c_str());
}

}  // namespace

namespace {

// The part of a load that pinning host memory is taken to be.
constexpr int32_t kPinningThousandths = 200;

std::unique_ptr<Forward> make_forward(LoadedModel &model) {
  if (model.device != nullptr) {
    std::unique_ptr<HostAttention> host;
    if (model.config.cpu_samples())
      host = std::make_unique<HostAttention>(model.config, model.blocks, model.team, model.kernels);
    return std::make_unique<DeviceForward>(model.config, *model.device, std::move(host));
  }
  return std::make_unique<Transformer>(model.config, model.weights.model(), model.blocks, model.team,
                                       model.kernels);
}

}  // namespace

LoadedModel::LoadedModel(const ModelConfig &given, const Kernels &level)
    : config(given),
      kernels(level),
      team(config.threads),
      device(config.device < 0 ? nullptr : open_cuda_device(config.device)),
      weights(config, device.get()),
      blocks(config, device.get()),
      lsh(config.lsh_bits > 0 && config.sampling_layers() > 0
              ? make_lsh_index(lsh_shape(config), kernels.name, config.index_seed, planned_lsh_bytes(config))
              : nullptr),
      contexts(config.max_contexts, config.context, blocks, lsh),
      forward(make_forward(*this)),
      sampler(kernels, config.vocabulary, config.threads) {}

void Engine::require_unloaded() const {
  if (loading_) fail(SOUNDER_BUSY, "The engine is loading its weights.");
  if (loaded_ != nullptr) fail(SOUNDER_INVALID, "The engine has its weights already; create another one.");
}

LoadedModel &Engine::loaded() {
  if (loaded_ == nullptr) fail(SOUNDER_NOT_LOADED, "The engine has no weights yet; load them first.");
  return *loaded_;
}

void Engine::run_alone(const std::function<void()> &job) {
  if (!thread_.run(job)) fail(SOUNDER_BUSY, "Another load or step is running; one runs at a time.");
}

void Engine::configure(const int32_t *ints, int32_t int_count, const float *floats, int32_t float_count,
                       const float *frequencies, int32_t frequency_count) {
  ModelConfig config = read_config_ints(ints, int_count);
  read_config_floats(config, floats, float_count, frequencies, frequency_count);
  std::lock_guard lock(mutex_);
  require_unloaded();
  config_ = std::move(config);
  files_.clear();
  tensors_ = {};
}

void Engine::set_dense_layers(const int32_t *layers, int32_t count) {
  std::lock_guard lock(mutex_);
  require_unloaded();
  if (!config_) fail(SOUNDER_INVALID, "State the model before its dense layers.");
  sounder::set_dense_layers(*config_, layers, count);
}

int32_t Engine::add_file(const uint8_t *path, int32_t path_bytes) {
  std::string name = read_path("weights file", path, path_bytes);
  std::lock_guard lock(mutex_);
  require_unloaded();
  if (!config_) fail(SOUNDER_INVALID, "State the model before its files.");
  files_.push_back(std::move(name));
  return static_cast<int32_t>(files_.size()) - 1;
}

void Engine::add_tensors(const std::vector<TensorPlace> &places) {
  std::lock_guard lock(mutex_);
  require_unloaded();
  if (!config_) fail(SOUNDER_INVALID, "State the model before its tensors.");
  TensorList tensors = tensors_;
  for (const TensorPlace &place : places) tensors.add(*config_, static_cast<int>(files_.size()), place);
  tensors_ = std::move(tensors);
}

void Engine::load() {
  run_alone([this] {
    {
      std::lock_guard lock(mutex_);
      require_unloaded();
      if (!config_) fail(SOUNDER_INVALID, "State the model before it is loaded.");
      loading_ = true;
    }
    load_thousandths_.store(0);
    try {
      run_load();
    } catch (...) {
      std::lock_guard lock(mutex_);
      loading_ = false;
      throw;
    }
  });
}

// While loading_ is set, nothing else changes the configuration, the files and the tensors.
void Engine::run_load() {
  const char *problem = nullptr;
  const Kernels *kernels = choose_level(&problem);
  if (kernels == nullptr) fail(SOUNDER_INVALID, "%s", problem);
  tensors_.require_complete(*config_, files_);
  require_fits(*config_);
  auto model = std::make_unique<LoadedModel>(*config_, *kernels);
  const int32_t pinned = config_->host_layers > 0 ? kPinningThousandths : 0;
  model->blocks.pin(model->team, {load_thousandths_, thread_.stop_flag(), 0, pinned});
  load_weights(model->config, files_, tensors_, model->weights, model->team, *kernels,
               {load_thousandths_, thread_.stop_flag(), pinned});
  std::lock_guard lock(mutex_);
  loaded_ = std::move(model);
  loading_ = false;
  load_thousandths_.store(1000);
}

void Engine::info_figures(int64_t *figures) {
  std::lock_guard lock(mutex_);
  LoadedModel &model = loaded();
  figures[SOUNDER_INFO_KV_BLOCKS] = model.blocks.capacity();
  figures[SOUNDER_INFO_KV_BLOCKS_FREE] = model.blocks.free_blocks();
  figures[SOUNDER_INFO_CONTEXTS] = model.contexts.live();
  figures[SOUNDER_INFO_THREADS] = model.team.size();
  figures[SOUNDER_INFO_WEIGHT_BYTES] = weight_bytes(model.config);
  figures[SOUNDER_INFO_BLOCK_BYTES] = block_bytes(model.config);
  figures[SOUNDER_INFO_WORKSPACE_BYTES] = workspace_bytes(model.config);
}

std::string Engine::info_text() {
  std::lock_guard lock(mutex_);
  LoadedModel &model = loaded();
  return formatted("%s, %d %s", model.forward->description().c_str(), model.team.size(),
                   model.team.size() == 1 ? "thread" : "threads");
}

int32_t Engine::create_context() {
  std::lock_guard lock(mutex_);
  return loaded().contexts.create();
}

int32_t Engine::fork_context(int32_t id, int32_t tokens) {
  std::lock_guard lock(mutex_);
  return loaded().contexts.fork(id, tokens);
}

void Engine::truncate_context(int32_t id, int32_t tokens) {
  std::lock_guard lock(mutex_);
  loaded().contexts.truncate(id, tokens);
}

void Engine::free_context(int32_t id) {
  std::lock_guard lock(mutex_);
  loaded().contexts.free(id);
}

int32_t Engine::context_length(int32_t id) {
  std::lock_guard lock(mutex_);
  return static_cast<int32_t>(loaded().contexts.find(id).tokens.size());
}

int32_t Engine::exact_tokens(int32_t id) {
  std::lock_guard lock(mutex_);
  return loaded().contexts.find(id).exact_tokens();
}

void Engine::cancel(int32_t id) {
  std::lock_guard lock(mutex_);
  Context &context = loaded().contexts.find(id);
  if (context.in_step) context.cancel.store(true);
}

int32_t Engine::progress(int32_t id) {
  std::lock_guard lock(mutex_);
  return loaded().contexts.find(id).in_step ? step_thousandths_.load() : 0;
}

void Engine::enable_capture(bool enabled) {
  std::lock_guard lock(mutex_);
  capture_enabled_ = enabled;
  if (!enabled) capture_.reset();
}

int32_t Engine::read_capture(int32_t what, int32_t layer, float *values, int32_t capacity) {
  std::shared_ptr<Capture> capture;
  {
    std::lock_guard lock(mutex_);
    if (what < 0 || what >= SOUNDER_CAPTURE_COUNT) fail(SOUNDER_INVALID, "There is no capture %d.", what);
    if (layer < 0 || layer >= loaded().config.layers) {
      fail(SOUNDER_INVALID, "There is no layer %d to read; the model has layers 0 to %d.", layer,
           loaded().config.layers - 1);
    }
    if (capture_ == nullptr) fail(SOUNDER_INVALID, "No step was captured; enable capturing first.");
    capture = capture_;
  }
  const std::vector<float> &kept = capture->values(what, layer);
  if (kept.size() > INT32_MAX) {
    fail(SOUNDER_INVALID, "The captured values are too many to count; capture a step with fewer tokens.");
  }
  std::copy_n(kept.begin(), std::min<size_t>(kept.size(), static_cast<size_t>(capacity)), values);
  return static_cast<int32_t>(kept.size());
}

}  // namespace sounder
