// SPDX-License-Identifier: Apache-2.0
#include "config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cuda/sampled/sampled_cuda.h"
#include "failure.h"
#include "sampled/lsh_kernels.h"
#include "sounder.h"
#include "threads.h"

namespace sounder {

namespace {

struct Range {
  const char *name;
  int32_t low, high;
};

// The upper ends keep every product of plan.cpp below 2^63 (the largest is that of the KV pool, < 2^62)
// and every width below 2^31. Positions up to 2^24 are exact in float32, which RoPE's angles need.
constexpr Range kRanges[SOUNDER_CONFIG_INT_COUNT] = {
    {"number of layers", 1, 1024},
    {"hidden size", 1, 1 << 17},
    {"intermediate size", 1, 1 << 20},
    {"number of heads", 1, 1024},
    {"number of KV heads", 1, 1024},
    {"head dim", 2, 256},
    {"vocabulary", 1, 1 << 24},
    {"longest context", 1, 1 << 24},
    {"sliding window", 0, INT32_MAX},
    {"tied output flag", 0, 1},
    {"q/k/v bias flag", 0, 1},
    {"q/k norm flag", 0, 1},
    {"number of rotated dimensions", 0, 256},
    {"precision", SOUNDER_PRECISION_BF16, SOUNDER_PRECISION_F32},
    {"number of threads", 0, 1024},
    {"number of KV blocks", 1, 1 << 23},
    {"number of contexts", 1, 1 << 16},
    {"number of tokens in a step", 1, 1 << 16},
    {"number of contexts in a step", 1, 1 << 16},
    {"seed of dummy weights", INT32_MIN, INT32_MAX},
    {"deterministic flag", 0, 1},
    {"sink", 0, 1 << 16},
    {"window", 1, 1 << 24},
    {"seed of the index", INT32_MIN, INT32_MAX},
    {"number of bits of the sketch", 0, 4},
    {"centring of the sketch", SOUNDER_CENTRING_BLOCK, SOUNDER_CENTRING_OFF},
    {"number of bits of an lsh code (K)", 0, 15},
    {"number of lsh tables (L)", 0, kLshMostTables},
    {"centring of lsh", SOUNDER_CENTRING_CONTEXT, SOUNDER_CENTRING_OFF},
    {"number of tokens with lsh tables", 0, 1 << 30},
    {"page of quest", 0, 64},
    {"yardsticks flag", 0, 1},
    {"number of dense layers", 0, 1024},
    {"least number of rows", 1, 1 << 24},
    {"device", SOUNDER_DEVICE_CPU, 1023},
    {"number of layers in host memory", 0, 1024},
    {"attention at layers in host memory", 0, SOUNDER_HOST_ATTENTION_COUNT - 1},
};

void check_relations(const int32_t *ints) {
  int heads = ints[SOUNDER_CONFIG_HEADS], kv_heads = ints[SOUNDER_CONFIG_KV_HEADS];
  int head_dim = ints[SOUNDER_CONFIG_HEAD_DIM], rope_dims = ints[SOUNDER_CONFIG_ROPE_DIMS];
  if (heads % kv_heads != 0) {
    fail(SOUNDER_INVALID, "The number of KV heads is %d; it must divide the number of heads, %d.", kv_heads,
         heads);
  }
  if (head_dim % 2 != 0) fail(SOUNDER_INVALID, "The head dim is %d; it must be even.", head_dim);
  if (rope_dims % 2 != 0 || rope_dims > head_dim) {
    fail(SOUNDER_INVALID,
         "The number of rotated dimensions is %d; it must be even and at most the head dim, %d.", rope_dims,
         head_dim);
  }
  int sketch_bits = ints[SOUNDER_CONFIG_SKETCH_BITS], page = ints[SOUNDER_CONFIG_QUEST_PAGE];
  if (sketch_bits == 3) fail(SOUNDER_INVALID, "A sketch has 1, 2 or 4 bits a dimension, not 3.");
  if (page != 0 && page != 16 && page != 32 && page != 64) {
    fail(SOUNDER_INVALID, "A page of quest has 16, 32 or 64 tokens, not %d.", page);
  }
  if ((ints[SOUNDER_CONFIG_LSH_BITS] == 0) != (ints[SOUNDER_CONFIG_LSH_TABLES] == 0)) {
    fail(SOUNDER_INVALID, "An lsh index takes both a number of bits (K) and a number of tables (L).");
  }
  if (ints[SOUNDER_CONFIG_DENSE_LAYERS] > ints[SOUNDER_CONFIG_LAYERS]) {
    fail(SOUNDER_INVALID, "There are %d dense layers among %d.", ints[SOUNDER_CONFIG_DENSE_LAYERS],
         ints[SOUNDER_CONFIG_LAYERS]);
  }
}

// What a GPU does not do yet, and what there is on a GPU alone.
void check_device(const int32_t *ints) {
  const int32_t host_layers = ints[SOUNDER_CONFIG_HOST_LAYERS], layers = ints[SOUNDER_CONFIG_LAYERS];
  if (host_layers > layers)
    fail(SOUNDER_INVALID, "The KV of %d layers is to lie in host memory; the model has %d.", host_layers,
         layers);
  if (ints[SOUNDER_CONFIG_DEVICE] == SOUNDER_DEVICE_CPU) {
    if (host_layers == 0 && ints[SOUNDER_CONFIG_HOST_ATTENTION] == SOUNDER_HOST_ATTENTION_GPU) return;
    fail(SOUNDER_INVALID,
         "On the CPU all KV lies in host memory, and the CPU attends: leave both figures 0.");
  }
  if (ints[SOUNDER_CONFIG_DETERMINISTIC] != 0)
    fail(SOUNDER_INVALID, "On a GPU results depend on the batch: deterministic engines run on the CPU.");
  const int32_t sampling = layers - ints[SOUNDER_CONFIG_DENSE_LAYERS];
  if (ints[SOUNDER_CONFIG_HOST_ATTENTION] == SOUNDER_HOST_ATTENTION_CPU && host_layers >= sampling) return;
  const bool lsh = ints[SOUNDER_CONFIG_LSH_BITS] != 0;
  if (lsh && ints[SOUNDER_CONFIG_HOST_ATTENTION] != SOUNDER_HOST_ATTENTION_GPU)
    fail(SOUNDER_INVALID,
         "With lsh either a GPU attends at all layers that sample, or the CPU does and their KV lies in host "
         "memory.");
  const int heads = ints[SOUNDER_CONFIG_HEADS], kv_heads = ints[SOUNDER_CONFIG_KV_HEADS];
  const int head_dim = ints[SOUNDER_CONFIG_HEAD_DIM], bits = ints[SOUNDER_CONFIG_SKETCH_BITS];
  const bool by_head = lsh || ints[SOUNDER_CONFIG_QUEST_PAGE] != 0 || ints[SOUNDER_CONFIG_YARDSTICKS] != 0;
  if (bits == 0 && !by_head) return;
  if (ints[SOUNDER_CONFIG_PRECISION] == SOUNDER_PRECISION_F32)
    fail(SOUNDER_INVALID, "A GPU samples keys in bfloat16, not float32.");
  const cuda::SketchShape shape{heads, kv_heads, head_dim, bits};
  if ((bits > 0 && !cuda::has_sketch_kernels(shape)) || (by_head && !cuda::has_word_kernels(shape)))
    fail(SOUNDER_INVALID,
         "A GPU samples head dims that are multiples of 8 and up to %d heads a KV head (lsh and yardsticks: "
         "%d); these are a head dim of %d and %d heads a KV head.",
         cuda::kMostGroup, cuda::kMostSlice, head_dim, heads / kv_heads);
}

}  // namespace

ModelConfig read_config_ints(const int32_t *ints, int32_t count) {
  if (ints == nullptr || count != SOUNDER_CONFIG_INT_COUNT) {
    fail(SOUNDER_INVALID, "The configuration has %d integers, %d are expected.", ints == nullptr ? 0 : count,
         SOUNDER_CONFIG_INT_COUNT);
  }
  for (int i = 0; i < SOUNDER_CONFIG_INT_COUNT; ++i) {
    if (ints[i] < kRanges[i].low || ints[i] > kRanges[i].high) {
      fail(SOUNDER_INVALID, "The %s is %d; it must be from %d to %d.", kRanges[i].name, ints[i],
           kRanges[i].low, kRanges[i].high);
    }
  }
  check_relations(ints);
  check_device(ints);
  ModelConfig config{};
  config.layers = ints[SOUNDER_CONFIG_LAYERS];
  config.hidden = ints[SOUNDER_CONFIG_HIDDEN];
  config.intermediate = ints[SOUNDER_CONFIG_INTERMEDIATE];
  config.heads = ints[SOUNDER_CONFIG_HEADS];
  config.kv_heads = ints[SOUNDER_CONFIG_KV_HEADS];
  config.head_dim = ints[SOUNDER_CONFIG_HEAD_DIM];
  config.vocabulary = ints[SOUNDER_CONFIG_VOCABULARY];
  config.context = ints[SOUNDER_CONFIG_CONTEXT];
  config.sliding_window = ints[SOUNDER_CONFIG_SLIDING_WINDOW];
  config.tied_output = ints[SOUNDER_CONFIG_TIED_OUTPUT] != 0;
  config.qkv_bias = ints[SOUNDER_CONFIG_QKV_BIAS] != 0;
  config.qk_norm = ints[SOUNDER_CONFIG_QK_NORM] != 0;
  config.rope_dims = ints[SOUNDER_CONFIG_ROPE_DIMS];
  config.f32 = ints[SOUNDER_CONFIG_PRECISION] == SOUNDER_PRECISION_F32;
  config.threads = ints[SOUNDER_CONFIG_THREADS] == 0 ? usable_cores() : ints[SOUNDER_CONFIG_THREADS];
  config.kv_blocks = ints[SOUNDER_CONFIG_KV_BLOCKS];
  config.max_contexts = ints[SOUNDER_CONFIG_MAX_CONTEXTS];
  config.max_step_tokens = ints[SOUNDER_CONFIG_MAX_STEP_TOKENS];
  config.max_step_sequences = ints[SOUNDER_CONFIG_MAX_STEP_SEQUENCES];
  config.dummy_seed = static_cast<uint32_t>(ints[SOUNDER_CONFIG_DUMMY_SEED]);
  config.deterministic = ints[SOUNDER_CONFIG_DETERMINISTIC] != 0;
  config.sink = ints[SOUNDER_CONFIG_SINK];
  config.window = ints[SOUNDER_CONFIG_WINDOW];
  config.index_seed = static_cast<uint32_t>(ints[SOUNDER_CONFIG_INDEX_SEED]);
  config.sketch_bits = ints[SOUNDER_CONFIG_SKETCH_BITS];
  config.sketch_centring = ints[SOUNDER_CONFIG_SKETCH_CENTRING];
  config.lsh_bits = ints[SOUNDER_CONFIG_LSH_BITS];
  config.lsh_tables = ints[SOUNDER_CONFIG_LSH_TABLES];
  config.lsh_centring = ints[SOUNDER_CONFIG_LSH_CENTRING];
  config.lsh_tokens = ints[SOUNDER_CONFIG_LSH_TOKENS];
  config.quest_page = ints[SOUNDER_CONFIG_QUEST_PAGE];
  config.yardsticks = ints[SOUNDER_CONFIG_YARDSTICKS] != 0;
  config.device = ints[SOUNDER_CONFIG_DEVICE];
  config.host_layers = ints[SOUNDER_CONFIG_HOST_LAYERS];
  config.host_attention = ints[SOUNDER_CONFIG_HOST_ATTENTION];
  config.least_rows = ints[SOUNDER_CONFIG_LEAST_ROWS];
  config.dense_layers.assign(static_cast<size_t>(config.layers), false);
  std::fill_n(config.dense_layers.begin(), ints[SOUNDER_CONFIG_DENSE_LAYERS], true);
  return config;
}

void read_config_floats(ModelConfig &config, const float *floats, int32_t count, const float *frequencies,
                        int32_t frequency_count) {
  if (floats == nullptr || count != SOUNDER_CONFIG_FLOAT_COUNT) {
    fail(SOUNDER_INVALID, "The configuration has %d floats, %d are expected.", floats == nullptr ? 0 : count,
         SOUNDER_CONFIG_FLOAT_COUNT);
  }
  float epsilon = floats[SOUNDER_CONFIG_NORM_EPSILON], scale = floats[SOUNDER_CONFIG_ROPE_SCALE];
  if (!(epsilon >= 0 && epsilon < 1)) {
    fail(SOUNDER_INVALID, "The norm epsilon is %g; it must be from 0 to 1.", epsilon);
  }
  if (!(scale > 0 && std::isfinite(scale))) {
    fail(SOUNDER_INVALID, "The RoPE scale is %g; it must be positive and finite.", scale);
  }
  if (frequency_count != config.rope_pairs() || (frequency_count > 0 && frequencies == nullptr)) {
    fail(SOUNDER_INVALID, "There are %d RoPE frequencies, %d rotated dimensions take %d.",
         frequencies == nullptr ? 0 : frequency_count, config.rope_dims, config.rope_pairs());
  }
  for (int i = 0; i < frequency_count; ++i) {
    if (!std::isfinite(frequencies[i])) {
      fail(SOUNDER_INVALID, "RoPE frequency %d is %g; it must be finite.", i, frequencies[i]);
    }
  }
  config.norm_epsilon = epsilon;
  config.rope_scale = scale;
  config.rope_frequencies.assign(frequencies, frequencies + frequency_count);
}

void set_dense_layers(ModelConfig &config, const int32_t *layers, int32_t count) {
  int expected = config.dense_layer_count();
  if (count != expected || (count > 0 && layers == nullptr)) {
    fail(SOUNDER_INVALID, "%d dense layers are named, the configuration says %d.", count, expected);
  }
  std::vector<bool> dense(static_cast<size_t>(config.layers), false);
  for (int i = 0; i < count; ++i) {
    if (layers[i] < 0 || layers[i] >= config.layers) {
      fail(SOUNDER_INVALID, "There is no layer %d to be dense; the model has layers 0 to %d.", layers[i],
           config.layers - 1);
    }
    if (dense[layers[i]]) fail(SOUNDER_INVALID, "Layer %d is named twice among the dense ones.", layers[i]);
    dense[layers[i]] = true;
  }
  config.dense_layers = std::move(dense);
}

}  // namespace sounder
