// SPDX-License-Identifier: Apache-2.0
//
// Loading: every type into both precisions, stacked and put in order; dummy weights.
#include "weights.h"

#include <algorithm>
#include <atomic>

#include "check.h"
#include "config.h"
#include "dequantize.h"
#include "dummy_weights.h"
#include "failure.h"
#include "tiny_model.h"

namespace {

using sounder::TensorPlace;
using tiny::Config;
using Bytes = std::vector<uint8_t>;
using Places = std::vector<TensorPlace>;

sounder::ModelConfig config_of(const Config &config) {
  sounder::ModelConfig read = sounder::read_config_ints(config.ints().data(), SOUNDER_CONFIG_INT_COUNT);
  sounder::read_config_floats(read, config.floats().data(), SOUNDER_CONFIG_FLOAT_COUNT,
                              config.frequencies().data(), config.rope_dims / 2);
  return read;
}

// Sizes that hold the largest block (256 columns) in every matrix.
Config wide_config(bool f32) {
  Config config;
  config.hidden = config.intermediate = 256;
  config.heads = 16;
  config.kv_heads = 4;
  config.head_dim = config.rope_dims = 16;
  config.bias = true;
  config.f32 = f32;
  return config;
}

// Random blocks with finite scales.
std::vector<uint8_t> random_blocks(int type, int64_t values, uint64_t seed) {
  const sounder::TypeLayout &layout = sounder::type_layout(type);
  std::vector<uint8_t> raw(size_t(values / layout.values * layout.bytes));
  for (size_t i = 0; i < raw.size(); ++i) raw[i] = uint8_t(sounder::random_bits(seed, 3, i));
  // The top bit of the exponent cleared in every 16 bits that may be a scale, and in every float.
  for (size_t i = 1; i < raw.size(); i += layout.values == 1 ? size_t(layout.bytes) : 2) {
    raw[layout.bytes == 4 ? i + 2 : i] &= 0xbf;
  }
  return raw;
}

struct Loaded {
  sounder::ModelConfig config;
  sounder::TensorList tensors;
  std::unique_ptr<sounder::Weights> weights;
};

void load_all(Loaded &loaded, const std::vector<std::string> &files, const std::vector<TensorPlace> &places) {
  const char *problem = nullptr;
  const sounder::Kernels &kernels = *sounder::choose_level(&problem);
  sounder::ThreadTeam team(2);
  for (const TensorPlace &place : places) loaded.tensors.add(loaded.config, int(files.size()), place);
  loaded.weights = std::make_unique<sounder::Weights>(loaded.config);
  std::atomic<int32_t> thousandths{0};
  std::atomic<bool> stop{false};
  sounder::load_weights(loaded.config, files, loaded.tensors, *loaded.weights, team, kernels,
                        {thousandths, stop});
  CHECK(thousandths == 999);
}

// Value i of the tensor in memory.
float value_at(Loaded &loaded, int role, int layer, int64_t i) {
  const void *data = loaded.weights->destination(role, layer);
  if (loaded.config.f32 || sounder::role_is_vector(role)) return static_cast<const float *>(data)[i];
  uint32_t bits = uint32_t(static_cast<const uint16_t *>(data)[i]) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

TEST("every type is dequantized, rounded, stacked and put in order, in both precisions") {
  for (bool f32 : {false, true}) {
    for (int type = 0; type < SOUNDER_TYPE_COUNT; ++type) {
      Loaded loaded{config_of(wide_config(f32)), {}, nullptr};
      std::vector<TensorPlace> places;
      Bytes bytes(13, 0);  // nothing is aligned
      tiny::Model model = tiny::make_model(wide_config(f32));
      for (const tiny::Tensor &t : model.tensors) {
        int heads = t.role == SOUNDER_ROLE_Q || t.role == SOUNDER_ROLE_Q_BIAS   ? 16
                    : t.role == SOUNDER_ROLE_K || t.role == SOUNDER_ROLE_K_BIAS ? 4
                                                                                : 0;
        int own_type = t.columns % 256 == 0 ? type : SOUNDER_TYPE_F32;
        places.push_back({t.role, t.layer, 0, own_type, t.rows, t.columns, t.layer == 1 ? heads : 0,
                          int64_t(bytes.size())});
        Bytes raw = random_blocks(own_type, int64_t(t.rows) * t.columns, uint64_t(t.role * 10 + t.layer));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
      }
      tiny::TemporaryFile file(bytes);
      load_all(loaded, {file.path()}, places);
      int wrong = 0;
      for (const TensorPlace &place : places) {
        std::vector<float> values(size_t(place.rows) * place.columns);
        sounder::dequantize(place.type, bytes.data() + place.offset, int64_t(values.size()), values.data());
        bool rounds = !f32 && !sounder::role_is_vector(place.role);
        for (int64_t i = 0; i < int64_t(values.size()); ++i) {
          int64_t target = i;
          if (place.interleaved_heads != 0) {
            // Value of pair p, side s in head h of the file belongs to dimension s * 8 + p.
            int64_t unit = place.rows == 1 ? 1 : place.columns, row = i / unit;
            int64_t head = row / 16, pair = row % 16 / 2, side = row % 2;
            target = (head * 16 + side * 8 + pair) * unit + i % unit;
          }
          float expected = rounds ? tiny::to_bf16_and_back(values[size_t(i)]) : values[size_t(i)];
          if (value_at(loaded, place.role, place.layer, target) != expected) ++wrong;
        }
      }
      CHECK(wrong == 0);
      // q, k, v and gate, up lie below each other.
      const sounder::LayerWeights &layer = loaded.weights->model().layers[1];
      int64_t value_bytes = f32 ? 4 : 2;
      const char *qkv = static_cast<const char *>(layer.qkv.data);
      CHECK(qkv == loaded.weights->destination(SOUNDER_ROLE_Q, 1));
      CHECK(qkv + 256 * 256 * value_bytes == loaded.weights->destination(SOUNDER_ROLE_K, 1));
      CHECK(qkv + (256 + 64) * 256 * value_bytes == loaded.weights->destination(SOUNDER_ROLE_V, 1));
      CHECK(layer.qkv_bias + 256 + 64 == loaded.weights->destination(SOUNDER_ROLE_V_BIAS, 1));
      CHECK(static_cast<const char *>(layer.gate_up.data) + 256 * 256 * value_bytes ==
            loaded.weights->destination(SOUNDER_ROLE_UP, 1));
      CHECK(layer.gate_up.rows == 512 && layer.qkv.rows == 384 && layer.down.columns == 256);
    }
  }
}

TEST("a load that is stopped is cancelled") {
  Loaded loaded{config_of({}), {}, nullptr};
  tiny::Model model = tiny::make_model({});
  for (const tiny::Tensor &t : model.tensors) {
    loaded.tensors.add(loaded.config, 0, {t.role, t.layer, SOUNDER_NO_FILE, 0, t.rows, t.columns, 0, 0});
  }
  const char *problem = nullptr;
  sounder::ThreadTeam team(2);
  sounder::Weights weights(loaded.config);
  std::atomic<int32_t> thousandths{0};
  std::atomic<bool> stop{true};
  try {
    sounder::load_weights(loaded.config, {}, loaded.tensors, weights, team, *sounder::choose_level(&problem),
                          {thousandths, stop});
    CHECK(false);
  } catch (const sounder::Failure &failure) {
    CHECK(failure.status() == SOUNDER_CANCELLED);
  }
}

TEST("dummy weights are seeded, normal with deviation 0.02, the same in both precisions; norms are 1") {
  for (bool f32 : {false, true}) {
    Loaded loaded{config_of(wide_config(f32)), {}, nullptr};
    Places places;
    for (const tiny::Tensor &t : tiny::make_model(wide_config(f32)).tensors) {
      places.push_back({t.role, t.layer, SOUNDER_NO_FILE, SOUNDER_TYPE_BF16, t.rows, t.columns, 0, 0});
    }
    load_all(loaded, {}, places);
    double sum = 0, squares = 0, largest = 0;
    const int n = 256 * 256;
    sounder::DummyWeights expected(7);
    std::vector<float> values(n), other(n);
    expected.fill_f32(SOUNDER_ROLE_DOWN, 1, 0, n, values.data());
    sounder::DummyWeights(8).fill_f32(SOUNDER_ROLE_DOWN, 1, 0, n, other.data());
    int equal = 0, same_as_other_layer = 0, same_as_other_seed = 0;
    for (int i = 0; i < n; ++i) {
      double value = value_at(loaded, SOUNDER_ROLE_DOWN, 1, i);
      sum += value, squares += value * value, largest = std::max(largest, std::fabs(value));
      equal += value == values[size_t(i)];
      same_as_other_layer += value == value_at(loaded, SOUNDER_ROLE_DOWN, 0, i);
      same_as_other_seed += value == other[size_t(i)];
    }
    CHECK(equal == n);
    CHECK(same_as_other_layer < n / 100 && same_as_other_seed < n / 100);
    CHECK_NEAR(sum / n, 0, 4 * 0.02 / std::sqrt(n));
    CHECK_NEAR(std::sqrt(squares / n), 0.02, 0.0003);
    CHECK(largest > 0.06 && largest < 0.1);
    for (int i = 0; i < 256; ++i) CHECK(value_at(loaded, SOUNDER_ROLE_ATTENTION_NORM, 1, i) == 1);
    CHECK(value_at(loaded, SOUNDER_ROLE_K_BIAS, 0, 3) != 0);
  }
}

TEST("memory that the system refuses is an error with the size") {
  try {
    sounder::Mapping mapping(int64_t{1} << 60, "a test");
    CHECK(false);
  } catch (const sounder::Failure &failure) {
    CHECK(failure.status() == SOUNDER_OUT_OF_MEMORY);
    CHECK(std::string(failure.what()).find("The system refused 1024.00 PiB for a test: ") == 0);
  }
}
