// SPDX-License-Identifier: Apache-2.0
//
// A GPU, what a model takes of its memory, and what is done outside steps.
#include "cuda_device.h"

#include <cstring>

#include "failure.h"
#include "kv_kernels.h"
#include "plugin.h"

namespace sounder::cuda {

namespace {

constexpr int kOldestMajor = 8;  // bf16 matrix units and copies into shared memory: Ampere

int64_t aligned(int64_t bytes) { return (bytes + 255) & ~int64_t{255}; }

// Hands out the parts of a buffer, each aligned to 256 bytes.
class Cutter {
 public:
  explicit Cutter(char *next) : next_(next) {}
  template <typename T = char>
  T *take(int64_t bytes) {
    char *start = next_;
    next_ += aligned(bytes);
    return reinterpret_cast<T *>(start);
  }

 private:
  char *next_;
};

// What the device has of the KV blocks.
int64_t own_kv_bytes(const ModelConfig &c) {
  int64_t block = (c.layers - c.host_layers) * c.layer_block_bytes();
  int64_t signatures = 0;
  for (int layer = 0; layer < c.layers; ++layer) {
    block += c.device_record_bytes(layer);
    signatures += c.layer_signature_bytes(layer);
  }
  return c.kv_blocks * block + signatures;
}

int64_t workspace_with_padding(const DeviceWorkspace &bytes) { return bytes.total() + 32 * 256; }

void require_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    fail(SOUNDER_INVALID, "Cannot use a GPU: its driver is missing, or older than CUDA %d.%d needs.",
         CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  if (status != cudaSuccess) fail(SOUNDER_INVALID, "Cannot use a GPU: %s.", cudaGetErrorString(status));
  if (index >= count) {
    fail(SOUNDER_INVALID, "Cannot use GPU %d: this machine has %d, counted from 0.", index, count);
  }
}

}  // namespace

DeviceState::DeviceState(const ModelConfig &config, int64_t weight_bytes, int processors)
    : weights(weight_bytes, "make room for the weights") {
  const DeviceWorkspace bytes = device_workspace(config);
  workspace = Buffer(workspace_with_padding(bytes), "make room for the activations of a step");
  std::vector<char *> list;
  for (int layer = 0; layer < config.layers; ++layer) {
    const int64_t slab = config.layer_on_host(layer) ? 0 : config.kv_blocks * config.layer_block_bytes();
    own_slabs.emplace_back(slab, "make room for the KV blocks of a layer");
    records.emplace_back(config.kv_blocks * config.device_record_bytes(layer), "make room for the index");
    signatures.emplace_back(config.layer_signature_bytes(layer), "make room for lsh signatures");
    slabs.push_back(own_slabs.back().data());
    if (slab > 0) list.push_back(slabs.back());
  }
  own_layers = static_cast<int>(list.size());
  slab_list = Buffer(int64_t(list.size() * sizeof(char *)), "make room for a list");
  check(cudaMemcpy(slab_list.data(), list.data(), list.size() * sizeof(char *), cudaMemcpyHostToDevice),
        "upload a list");
  const size_t pairs = config.rope_frequencies.size();
  frequency_memory = Buffer(int64_t(std::max<size_t>(pairs, 1) * 4), "make room for RoPE's frequencies");
  frequencies = reinterpret_cast<float *>(frequency_memory.data());
  check(cudaMemcpy(frequencies, config.rope_frequencies.data(), pairs * 4, cudaMemcpyHostToDevice),
        "upload RoPE's frequencies");
  logits_out = PinnedBuffer(bytes.logits, "pin memory for logits");
  staging_bytes = (bytes.rows + bytes.kept + bytes.tables + bytes.tiles + 63) / 64 * 64;
  staging = PinnedBuffer(2 * staging_bytes, "pin memory for a step");
  chosen_out = PinnedBuffer(int64_t{2} * kLogitsRows * sizeof(ChosenToken), "pin memory for tokens");
  choices = Buffer(int64_t{kLogitsRows} * sizeof(TokenChoice), "make room for choices");
  choices_in = PinnedBuffer(int64_t{2} * kLogitsRows * sizeof(TokenChoice), "pin memory for choices");

  Cutter cut(workspace.data());
  x = cut.take<float>(bytes.x);
  normed = cut.take(bytes.normed);
  qkv = cut.take<float>(bytes.qkv);
  q = cut.take(bytes.q);
  attended = cut.take(bytes.attended);
  gate_up = cut.take(bytes.gate_up);
  activated = cut.take(bytes.activated);
  spare = cut.take(bytes.spare);
  logits = cut.take<float>(bytes.logits);
  cosine = cut.take<float>(bytes.angles / 2);
  sine = cut.take<float>(bytes.angles / 2);
  partials = cut.take(bytes.partials);
  best_parts = reinterpret_cast<BestPart *>(partials);
  chosen = reinterpret_cast<ChosenToken *>(best_parts + kLogitsRows * kBestParts);
  static_assert(kLogitsRows * (kBestParts * sizeof(BestPart) + sizeof(ChosenToken)) <= 4 * kDevicePartials);
  rows = cut.take<Row>(bytes.rows);
  kept = cut.take<int32_t>(bytes.kept);
  tables = cut.take<int32_t>(bytes.tables);
  tiles = cut.take<AttendTile>(bytes.tiles);
  products = std::make_unique<Products>(stream, cut.take(bytes.products));
  if (config.host_layers > 0) {
    char *copied_in = cut.take(bytes.copied_in), *appended = cut.take(bytes.appended);
    host = std::make_unique<HostLayers>(
        config, HostLayers::Memory{copied_in, appended, cut.take<int32_t>(bytes.identity)}, stream);
  }
  if (!config.device_samples()) return;
  SampledLayers::Places places{};
  places.work = cut.take(bytes.sampled);
  places.queries = cut.take<SampledQuery>(bytes.queries);
  places.statistics = cut.take<float>(bytes.statistics);
  places.constants = cut.take<SketchConstants>(bytes.constants);
  places.projections = cut.take<float>(bytes.projections);
  places.collisions = cut.take<float>(bytes.collisions);
  places.signatures = cut.take<int32_t>(bytes.signatures);
  sampled =
      std::make_unique<SampledLayers>(config, processors, SampledLayers::Index{records, signatures}, places);
  if (device_near_rows(config) == 0) return;
  char *slots = cut.take(bytes.near_slots);
  near = std::make_unique<NearCache>(config, NearCache::Memory{slots, cut.take<int32_t>(bytes.near_tables)});
}

CudaDevice::CudaDevice(int index) : index_(index) {
  require_device(index);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "say what it is");
  name_ = properties.name;
  processors_ = properties.multiProcessorCount;
  major_ = properties.major;
  if (properties.major < kOldestMajor) {
    fail(SOUNDER_INVALID, "Cannot use GPU %d, %s: its compute capability is %d.%d, and 8.0 is needed.", index,
         properties.name, properties.major, properties.minor);
  }
}

CudaDevice::~CudaDevice() {
  cudaSetDevice(index_);
  if (state_ != nullptr) cudaStreamSynchronize(state_->stream);
  graphs_.clear();
  state_ = nullptr;
}

void CudaDevice::make_current() const { check(cudaSetDevice(index_), "start"); }

void CudaDevice::prepare(const ModelConfig &config, int64_t weight_bytes) {
  make_current();
  config_ = &config;
  require_fits(config, weight_bytes);
  try {
    state_ = std::make_unique<DeviceState>(config, weight_bytes, processors_);
  } catch (const Failure &failure) {
    if (failure.status() != SOUNDER_OUT_OF_MEMORY) throw;
    fail(SOUNDER_OUT_OF_MEMORY, "%s The driver takes some of what is free: leave it a part.", failure.what());
  }
  // cudaMemcpy returns before what it read from memory that is not pinned is there, and our streams do not
  // wait for the one on which it comes.
  check(cudaDeviceSynchronize(), "start");
}

void CudaDevice::require_fits(const ModelConfig &config, int64_t weight_bytes) const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "say how much memory it has");
  const int64_t workspace = device_workspace(config).total(), kv = own_kv_bytes(config);
  if (weight_bytes + workspace + kv <= static_cast<int64_t>(free)) return;
  fail(SOUNDER_OUT_OF_MEMORY,
       "The engine takes %s for weights, %s for the KV cache and %s to work in; of the GPU's %s are %s free. "
       "A smaller KV cache, more of its layers in host memory or smaller steps take less.",
       size_text(weight_bytes).c_str(), size_text(kv).c_str(), size_text(workspace).c_str(),
       size_text(static_cast<int64_t>(total)).c_str(), size_text(static_cast<int64_t>(free)).c_str());
}

void CudaDevice::upload(char *to, const void *from, int64_t bytes) {
  make_current();
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, state_->stream),
        "upload weights");
}

void CudaDevice::pin(int layer, void *slab, int64_t bytes) {
  make_current();
  check(cudaHostRegister(slab, static_cast<size_t>(bytes), cudaHostRegisterMapped | cudaHostRegisterPortable),
        "pin host memory for the KV blocks of a layer");
  state_->pinned.push_back(slab);
  void *address = nullptr;
  check(cudaHostGetDevicePointer(&address, slab, 0), "find its way to host memory");
  state_->slabs[size_t(layer)] = static_cast<char *>(address);
  state_->host->set_slab(layer, static_cast<char *>(slab), static_cast<char *>(address));
  if (state_->near != nullptr) state_->near->set_slab(layer, static_cast<char *>(slab));
}

void CudaDevice::unpin() noexcept {
  if (state_ == nullptr) return;
  cudaSetDevice(index_);
  cudaStreamSynchronize(state_->stream);  // a step may be queued ahead
  for (void *slab : state_->pinned) cudaHostUnregister(slab);
  state_->pinned.clear();
}

// On a stream of its own: the one of steps may be recording a graph.
void CudaDevice::copy_rows(int32_t from, int32_t to, int tokens) {
  if (state_->near != nullptr) state_->near->forget(to);
  if (state_->own_layers == 0) return;
  make_current();
  const int64_t row_bytes = int64_t{2} * config_->head_dim * config_->value_bytes();
  cuda::copy_rows(state_->copies, reinterpret_cast<char *const *>(state_->slab_list.data()),
                  state_->own_layers, config_->kv_heads, row_bytes, from, to, tokens);
  check(cudaStreamSynchronize(state_->copies), "copy rows of a KV block");
}

template <typename Use>
void CudaDevice::each_part(int32_t block, bool sealed, const Use &use) const {
  const DeviceState &s = *state_;
  const int64_t rows = config_->layer_block_bytes();
  for (int layer = 0; layer < config_->layers; ++layer) {
    if (!config_->layer_on_host(layer)) use(s.own_slabs[size_t(layer)].data() + block * rows, rows);
    const int64_t records = config_->device_record_bytes(layer);
    if (sealed && records > 0) use(s.records[size_t(layer)].data() + block * records, records);
  }
}

void CudaDevice::read_block(int32_t block, bool sealed, char *to) {
  make_current();
  each_part(block, sealed, [&](char *part, int64_t bytes) {
    check(cudaMemcpyAsync(to, part, size_t(bytes), cudaMemcpyDeviceToHost, state_->copies),
          "read a KV block");
    to += bytes;
  });
  check(cudaStreamSynchronize(state_->copies), "read a KV block");
}

void CudaDevice::write_block(int32_t block, bool sealed, const char *from) {
  make_current();
  if (state_->near != nullptr) state_->near->forget(block);
  each_part(block, sealed, [&](char *part, int64_t bytes) {
    check(cudaMemcpyAsync(part, from, size_t(bytes), cudaMemcpyHostToDevice, state_->copies),
          "write a KV block");
    from += bytes;
  });
  check(cudaStreamSynchronize(state_->copies), "write a KV block");
}

void CudaDevice::fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) {
  make_current();
  synchronize();
  const size_t count = size_t(end + kBlockTokens - 1) / kBlockTokens;
  for (size_t b = size_t(first / kBlockTokens); b < count && state_->near != nullptr; ++b)
    state_->near->forget(blocks[b]);
  check(cudaMemcpyAsync(state_->tables, blocks, count * sizeof(int32_t), cudaMemcpyHostToDevice,
                        state_->stream),
        "upload a list of blocks");
  for (int layer = 0; layer < config_->layers; ++layer) {
    if (config_->layer_on_host(layer))
      fill_host_layer(layer, blocks, first, end, seed);
    else
      fill_rows(layer, slab_place(layer), first, end, seed);
  }
  synchronize();
  if (state_->host != nullptr) state_->host->wait();
}

void CudaDevice::sign(const DeviceStep &step) {
  make_current();
  forget_ahead();
  describe(step);
  for (int layer = 0; layer < config_->layers; ++layer) sign_keys(layer);
  synchronize();
}

void CudaDevice::fill_rows(int layer, const RowPlace &place, int first, int end, uint32_t seed) {
  fill_noise(state_->stream, place.slab, layer, place.tables, config_->kv_heads, config_->head_dim,
             config_->f32, first, end, seed);
  const int first_block = first / kBlockTokens, end_block = end / kBlockTokens;
  if (state_->sampled == nullptr || config_->device_record_bytes(layer) == 0 || end_block == first_block)
    return;
  state_->sampled->seal(state_->stream, layer, place.slab, place.tables, state_->tables, first_block,
                        end_block);
}

void CudaDevice::synchronize() { check(cudaStreamSynchronize(state_->stream), "finish its work"); }

namespace {

DeviceMemory memory_of(int index) {
  require_device(index);
  check(cudaSetDevice(index), "start");
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "say how much memory it has");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

std::unique_ptr<Device> open(int index) { return std::make_unique<CudaDevice>(index); }

constexpr CudaPlugin kPlugin = {kCudaPluginVersion, memory_of, open};

}  // namespace
}  // namespace sounder::cuda

extern "C" __attribute__((visibility("default"))) const sounder::CudaPlugin *sounder_cuda_plugin(void) {
  return &sounder::cuda::kPlugin;
}
