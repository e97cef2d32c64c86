// SPDX-License-Identifier: Apache-2.0
//
// Small random models in files, for the tests of the engine.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "random.h"
#include "sounder.h"

namespace tiny {

// The device that SOUNDER_DEVICE names for all tests: cpu, cuda or cuda:N.
inline int test_device() {
  const char *name = std::getenv("SOUNDER_DEVICE");
  if (name == nullptr || std::strncmp(name, "cuda", 4) != 0) return SOUNDER_DEVICE_CPU;
  return name[4] == ':' ? std::atoi(name + 5) : 0;
}

// How many layers' KV the tests' engines keep in host memory there, as SOUNDER_HOST_LAYERS says; 0 without.
inline int test_host_layers() {
  const char *count = std::getenv("SOUNDER_HOST_LAYERS");
  return test_device() < 0 || count == nullptr ? 0 : std::atoi(count);
}

// Whether the GPU is an emulated one (emulated_cuda/), which is slow: tests give it less to do.
inline bool is_emulated() { return test_device() >= 0 && std::getenv("SOUNDER_EMULATED") != nullptr; }

// Whether deterministic engines are to be had: results that do not depend on the batch. On a GPU values that
// would be equal are near.
inline bool has_deterministic() { return test_device() < 0; }
inline bool same(float a, float b) { return has_deterministic() ? a == b : std::fabs(a - b) <= 2e-3f; }
inline bool same(const std::vector<float> &a, const std::vector<float> &b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i])) return false;
  return true;
}

struct Config {
  int layers = 2, hidden = 40, intermediate = 56, heads = 4, kv_heads = 2, head_dim = 12, vocabulary = 99;
  int context = 1024, sliding_window = 0;
  bool tied = false, bias = false, qk_norm = false;
  int rope_dims = 12;
  bool f32 = true;
  int threads = 2, kv_blocks = 24, max_contexts = 8, max_step_tokens = 400, max_step_sequences = 6;
  bool deterministic = false;
  int sink = 4, window = 64, sketch_bits = 0, sketch_centring = SOUNDER_CENTRING_BLOCK;
  int lsh_bits = 0, lsh_tables = 0, lsh_centring = SOUNDER_CENTRING_CONTEXT, lsh_tokens = 0;
  int quest_page = 0;
  bool yardsticks = false;
  int dense_layers = 0, least_rows = 256;
  int device = test_device(), host_layers = test_host_layers();
  int host_attention = SOUNDER_HOST_ATTENTION_GPU;
  float norm_epsilon = 1e-5f, rope_scale = 1;

  std::vector<int32_t> ints() const {
    return {layers,
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context,
            sliding_window,
            tied ? 1 : 0,
            bias ? 1 : 0,
            qk_norm ? 1 : 0,
            rope_dims,
            f32 ? 1 : 0,
            threads,
            kv_blocks,
            max_contexts,
            max_step_tokens,
            max_step_sequences,
            7,
            deterministic ? 1 : 0,
            sink,
            window,
            11,
            sketch_bits,
            sketch_centring,
            lsh_bits,
            lsh_tables,
            lsh_centring,
            lsh_tokens,
            quest_page,
            yardsticks ? 1 : 0,
            dense_layers,
            least_rows,
            device,
            device < 0 ? 0 : std::min(host_layers, layers),
            device < 0 ? SOUNDER_HOST_ATTENTION_GPU : host_attention};
  }
  std::vector<float> floats() const { return {norm_epsilon, rope_scale}; }
  std::vector<float> frequencies() const {
    std::vector<float> all;
    for (int i = 0; i < rope_dims / 2; ++i) {
      all.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / rope_dims)));
    }
    return all;
  }
};

struct Tensor {
  int role, layer, rows, columns;
  std::vector<float> values;
};

// Uniform in [-1, 1), a function of its arguments.
inline float noise(uint64_t seed, uint64_t a, uint64_t b) {
  return static_cast<float>(2 * sounder::random_uniform(sounder::random_bits(seed, a, b)) - 1);
}

inline float to_bf16_and_back(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Model {
  Config config;
  std::vector<Tensor> tensors;

  const std::vector<float> &at(int role, int layer = 0) const {
    for (const Tensor &tensor : tensors) {
      if (tensor.role == role && tensor.layer == layer) return tensor.values;
    }
    std::fprintf(stderr, "the tiny model has no tensor %d of layer %d\n", role, layer);
    std::abort();
  }
};

// Values that bfloat16 holds exactly, so that both precisions have the same weights; large enough that
// every part of the model shows in the logits.
inline Model make_model(const Config &config, uint64_t seed = 1) {
  Model model{config, {}};
  auto add = [&](int role, int layer, int rows, int columns, float around, float spread) {
    Tensor tensor{role, layer, rows, columns, std::vector<float>(size_t(rows) * columns)};
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] = to_bf16_and_back(around + spread * noise(seed, uint64_t(role) * 1000 + layer, i));
    }
    model.tensors.push_back(std::move(tensor));
  };
  const Config &c = config;
  int q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  add(SOUNDER_ROLE_EMBEDDING, 0, c.vocabulary, c.hidden, 0, 1);
  if (!c.tied) add(SOUNDER_ROLE_OUTPUT, 0, c.vocabulary, c.hidden, 0, 0.5f);
  add(SOUNDER_ROLE_FINAL_NORM, 0, 1, c.hidden, 1, 0.3f);
  for (int layer = 0; layer < c.layers; ++layer) {
    add(SOUNDER_ROLE_ATTENTION_NORM, layer, 1, c.hidden, 1, 0.3f);
    add(SOUNDER_ROLE_Q, layer, q, c.hidden, 0, 0.4f);
    add(SOUNDER_ROLE_K, layer, kv, c.hidden, 0, 0.4f);
    add(SOUNDER_ROLE_V, layer, kv, c.hidden, 0, 0.3f);
    if (c.bias) {
      add(SOUNDER_ROLE_Q_BIAS, layer, 1, q, 0, 0.5f);
      add(SOUNDER_ROLE_K_BIAS, layer, 1, kv, 0, 0.5f);
      add(SOUNDER_ROLE_V_BIAS, layer, 1, kv, 0, 0.5f);
    }
    if (c.qk_norm) {
      add(SOUNDER_ROLE_Q_NORM, layer, 1, c.head_dim, 1, 0.3f);
      add(SOUNDER_ROLE_K_NORM, layer, 1, c.head_dim, 1, 0.3f);
    }
    add(SOUNDER_ROLE_ATTENTION_OUTPUT, layer, c.hidden, q, 0, 0.3f);
    add(SOUNDER_ROLE_FEED_FORWARD_NORM, layer, 1, c.hidden, 1, 0.3f);
    add(SOUNDER_ROLE_GATE, layer, c.intermediate, c.hidden, 0, 0.3f);
    add(SOUNDER_ROLE_UP, layer, c.intermediate, c.hidden, 0, 0.3f);
    add(SOUNDER_ROLE_DOWN, layer, c.hidden, c.intermediate, 0, 0.3f);
  }
  return model;
}

inline std::vector<int32_t> random_tokens(int count, int vocabulary, uint64_t seed) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(sounder::random_bits(seed, 5, uint64_t(i)) % uint64_t(vocabulary)));
  }
  return tokens;
}

// A file that is removed with this object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::vector<uint8_t> &bytes) {
    char name[] = "/tmp/sounder_test_XXXXXX";
    int descriptor = mkstemp(name);
    if (descriptor < 0 || write(descriptor, bytes.data(), bytes.size()) != ssize_t(bytes.size())) {
      std::fprintf(stderr, "cannot write %s\n", name);
      std::abort();
    }
    close(descriptor);
    path_ = name;
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;
  const std::string &path() const { return path_; }

 private:
  std::string path_;
};

// The tensors as float32, one after another, and where each begins.
struct Packed {
  std::vector<uint8_t> bytes;
  std::vector<int64_t> offsets;
};
inline Packed pack(const Model &model) {
  Packed packed;
  for (const Tensor &tensor : model.tensors) {
    packed.offsets.push_back(int64_t(packed.bytes.size()));
    const uint8_t *start = reinterpret_cast<const uint8_t *>(tensor.values.data());
    packed.bytes.insert(packed.bytes.end(), start, start + tensor.values.size() * 4);
  }
  return packed;
}

}  // namespace tiny
