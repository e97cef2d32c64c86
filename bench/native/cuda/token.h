// SPDX-License-Identifier: Apache-2.0
//
// The token of the bench: a context's memory, and the kernels of a token in order.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "cuda/branches.h"
#include "cuda/products.h"
#include "cuda/sampled/strategies.h"
#include "device_workspace.h"
#include "graph_time.h"
#include "sampled/sketch_kernels.h"
#include "token_memory.h"

namespace token_bench {

using namespace sounder;

constexpr int kSink = 4, kWindow = 64, kDense = 1;  // layers that attend all keys
constexpr int kNearBlocks = 4;                      // of a sampling layer: the sink's, and the tail's
constexpr int kRepeats = 20;

IndexShape index_shape(int bits) { return {Model::kHeadDim, bits, 0, 0, false}; }

struct Options {
  int context = 98304, bits = 2, branches = 7, part = 49152, splits = 0, stages = 1, variants = 0,
      shuffle = 1;
};

struct Bench {
  explicit Bench(const Options &options_)
      : options(options_),
        context(options_.context),
        bits(options_.bits),
        blocks(context / kIndexTokens),
        model(set_up()) {
    std::vector<int32_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    if (options.shuffle) std::shuffle(order.begin(), order.end(), std::mt19937(3));
    block_ids = std::make_unique<DeviceArray<int32_t>>(order);
    near_ids = std::make_unique<DeviceArray<int32_t>>(std::vector<int32_t>(order.size()));
    std::vector<cuda::SketchConstants> one(1);
    one[0].draw = draw_table();
    const std::vector<float> signs = rotation_signs(Model::kHeadDim, 5);
    std::copy(signs.begin(), signs.end(), one[0].signs);
    constants = std::make_unique<DeviceArray<cuda::SketchConstants>>(one);
    make_tables();
    make_work();
    fill();
  }

  cuda::Launcher set_up() {
    int count = 0;
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0), "look at the device");
    check(cudaStreamCreateWithFlags(&launcher.stream, cudaStreamNonBlocking), "make a stream");
    launcher.multiprocessors = count;
    scratch = std::make_unique<DeviceArray<char>>(kDeviceProductBytes);
    normed = std::make_unique<DeviceArray<uint16_t>>(Model::kHidden);
    products = std::make_unique<cuda::Products>(launcher.stream, scratch->data);
    return launcher;
  }

  void make_tables() {
    const int pairs = Model::kHeadDim / 2;
    std::vector<float> cosine(static_cast<size_t>(context) * pairs), sine(cosine.size());
    std::vector<double> frequencies(static_cast<size_t>(pairs));
    for (int i = 0; i < pairs; ++i) frequencies[i] = std::pow(500000.0, -i / static_cast<double>(pairs));
    for (int t = 0; t < context; ++t)
      for (int i = 0; i < pairs; ++i) {
        const double angle = t * frequencies[i];
        cosine[static_cast<size_t>(t) * pairs + i] = static_cast<float>(std::cos(angle));
        sine[static_cast<size_t>(t) * pairs + i] = static_cast<float>(std::sin(angle));
      }
    cosines = std::make_unique<DeviceArray<float>>(cosine);
    sines = std::make_unique<DeviceArray<float>>(sine);
  }

  void make_work() {
    cuda::SampledMemory places{};
    work = std::make_unique<DeviceArray<char>>(
        cuda::place_sampled(shape(), 1, context, 64 * Model::kKvHeads, nullptr, &places));
    place_work();
    constexpr int64_t kFigures = int64_t{cuda::kStatistics} * Model::kHeads;
    const int64_t floats[] = {Model::kHidden,       Model::kQkvRows,    Model::kHidden,
                              Model::kIntermediate, Model::kVocabulary, kFigures};
    for (int64_t n : floats) activations.push_back(std::make_unique<DeviceArray<float>>(n));
    best = std::make_unique<DeviceArray<uint64_t>>(std::vector<uint64_t>{0xffffffffu});  // token 0
    queries = std::make_unique<DeviceArray<cuda::SampledQuery>>(2);
  }

  void place_work() {
    const int own = options.splits > 0 ? options.splits * Model::kKvHeads : launcher.multiprocessors;
    cuda::place_sampled(shape(), 1, context, own, work->data, &memory);
  }

  // Layer after layer is made where layer 0's rows will lie, sealed there and sent to the host.
  void fill() {
    const int64_t layer_bytes = int64_t{context} * Model::kKvHeads * Model::kRowBytes;
    dense_rows = std::make_unique<DeviceArray<uint16_t>>(layer_bytes / 2);
    near_rows =
        std::make_unique<DeviceArray<uint16_t>>(int64_t{Model::kLayers} * kNearBlocks * block_values());
    records = std::make_unique<DeviceArray<char>>(Model::kLayers * records_of_layer());
    for (int l = Model::kLayers - 1; l >= 0; --l) {
      if (l >= kDense) host_rows.push_back(std::make_unique<PinnedSlab>(layer_bytes));
      fill_layer(l);
    }
    std::reverse(host_rows.begin(), host_rows.end());
  }
  void fill_layer(int l) {
    launch_fill(launcher, dense_rows->data, dense_rows->count, 1000 + static_cast<uint64_t>(l), 1.5f);
    if (l < kDense) return finish("fill");
    seal(l);
    char *to = host_rows.back()->host();
    check(cudaMemcpyAsync(to, dense_rows->data, static_cast<size_t>(dense_rows->count) * 2,
                          cudaMemcpyDeviceToHost, launcher.stream),
          "send rows to the host");
    check(cudaMemcpyAsync(near_rows->data + int64_t{l} * kNearBlocks * block_values(), dense_rows->data,
                          static_cast<size_t>(kNearBlocks * block_values()) * 2, cudaMemcpyDeviceToDevice,
                          launcher.stream),
          "copy rows");
    finish("fill");
  }
  void seal(int l) {
    cuda::SealStep step{index_shape(bits),
                        Model::kKvHeads,
                        dense_rows->data,
                        records->data + l * records_of_layer(),
                        record_bytes(index_shape(bits)),
                        constants->data->signs,
                        block_ids->data,
                        block_ids->data,
                        0,
                        blocks,
                        nullptr};
    cuda::launch_seal(launcher, step);
  }

  int64_t block_values() const { return int64_t{Model::kKvHeads} * kIndexTokens * 2 * Model::kHeadDim; }
  int64_t records_of_layer() const {
    return int64_t{blocks} * Model::kKvHeads * record_bytes(index_shape(2));
  }
  cuda::SketchShape shape() const { return {Model::kHeads, Model::kKvHeads, Model::kHeadDim, bits}; }
  void finish(const char *what) { check(cudaStreamSynchronize(launcher.stream), what); }

  // A context of n tokens, of which the last is decoded, and this share of rows.
  void set_query(int n, double budget) {
    cuda::SampledQuery q{};
    q.blocks = block_ids->data;
    q.near_blocks = near_ids->data;
    q.seed = 11;
    q.position = n - 1;
    q.begin = kSink;
    q.end = std::max(0, n - kWindow) / kIndexTokens * kIndexTokens;
    q.budget = static_cast<int>(std::ceil(budget * (q.end - q.begin)));
    q.segment_keys = std::max((q.end / 32 / kIndexTokens + 1) * kIndexTokens, 4096);
    q.beta = 1.0f;
    q.beta_shrink = 65536;
    cuda::SampledQuery dense = q;
    dense.near_blocks = block_ids->data;
    queries->put({q, dense});
    std::vector<int32_t> near(static_cast<size_t>(blocks));
    for (int b = q.end / kIndexTokens; b < blocks; ++b) near[b] = 1 + std::min(b - q.end / kIndexTokens, 2);
    near_ids->put(near);
    query = q;
  }

  cuda::SampledStep step_of(int layer) const {
    cuda::SampledStep s{};
    s.strategy = cuda::sketch_strategy();
    s.shape = shape();
    s.queries = 1;
    s.context = query.position + 1;
    s.layer = layer;
    s.query = queries->data + (layer < kDense ? 1 : 0);
    s.constants = constants->data;
    s.memory = memory;
    s.rows = layer < kDense ? dense_rows->data : host_rows[layer - kDense]->device<uint16_t>();
    s.near_rows = layer < kDense ? dense_rows->data : near_rows->data + layer * kNearBlocks * block_values();
    s.records = records->data + layer * records_of_layer();
    s.record_stride = record_bytes(index_shape(bits));
    s.served = {0, Model::kKvHeads};
    s.narrow_output = reinterpret_cast<uint16_t *>(activations[2]->data);
    s.statistics = activations[5]->data;
    return s;
  }
  cuda::NewRows new_rows_of(int layer) const {
    const int64_t angles = int64_t{query.position} * (Model::kHeadDim / 2);
    cuda::NewRows rows{activations[1]->data, cosines->data + angles, sines->data + angles};
    rows.pairs = Model::kHeadDim / 2;
    rows.rows = layer < kDense ? nullptr : host_rows[layer - kDense]->device<uint16_t>();
    rows.near_rows =
        layer < kDense ? dense_rows->data : near_rows->data + layer * kNearBlocks * block_values();
    return rows;
  }

  struct Product {
    const DeviceArray<uint16_t> *w;
    int rows, columns, from;
    bool is_normed;
    cuda::Into into;
    int to;
  };
  Product qkv(int l) const {
    return {model.layers[l].qkv.get(), Model::kQkvRows, Model::kHidden, 0, true, cuda::Into::kFloats, 1};
  }
  // Behind the attention of a layer; the first ones of what comes next with them.
  std::vector<Product> products_after(int l) const {
    using cuda::Into;
    const Model::Layer &own = model.layers[l];
    constexpr int kHidden = Model::kHidden, kWide = Model::kIntermediate;
    return {{own.out.get(), kHidden, kHidden, 2, false, Into::kResidual, 0},
            {own.gate_up.get(), 2 * kWide, kHidden, 0, true, Into::kActivated, 3},
            {own.down.get(), kHidden, kWide, 3, false, Into::kResidual, 0},
            l + 1 < Model::kLayers
                ? qkv(l + 1)
                : Product{model.head.get(), Model::kVocabulary, kHidden, 0, true, Into::kFloats, 4}};
  }
  void multiply(const std::vector<Product> &all) {
    for (const Product &p : all) {
      const WeightMatrix w{p.w->data, p.rows, p.columns, false};
      const float *x = activations[p.from]->data;
      if (p.is_normed)
        products->multiply_normed(w, x, model.norm->data, 1e-5f, 1, normed->data, p.into,
                                  activations[p.to]->data);
      else
        products->multiply(w, x, 1, p.into, activations[p.to]->data);
    }
  }
  void first() {
    launch_embedding(launcher,
                     {model.embedding->data, Model::kHidden, best->data, &queries->data->seed,
                      sizeof(cuda::SampledQuery), activations[0]->data},
                     1);
    multiply({qkv(0)});
  }
  void last() { launch_best(launcher, activations[4]->data, Model::kVocabulary, best->data, 1); }
  void attention(int l) {
    const cuda::SampledStep step = step_of(l);
    cuda::Launcher own = launcher;
    branches.give(own);
    own.branch_count = std::min(options.branches, own.branch_count);
    own.keys_of_part = options.part;
    if (l >= kDense) return cuda::launch_sampled_attention(own, step, new_rows_of(l));
    cuda::launch_prepare(own, step, new_rows_of(l));
    cuda::launch_exact_attention(own, step);
  }
  void token() {
    first();
    for (int l = 0; l < Model::kLayers; ++l) {
      attention(l);
      multiply(products_after(l));
    }
    last();
  }

  double time(const std::function<void()> &work_, int repeats = kRepeats) {
    return median_ms(launcher.stream, work_, repeats);
  }

  // Rows that a KV head read, mean over layers and tokens since the last call.
  double rows_read(int tokens) {
    const std::vector<float> all = activations[5]->values();
    double rows = 0;
    for (int h = 0; h < Model::kHeads; ++h) rows += all[cuda::kStatistics * h];
    activations[5]->put(std::vector<float>(all.size()));
    return rows / Model::kHeads / (Model::kLayers - kDense) / tokens;
  }

  Options options;
  cuda::Launcher launcher;
  cuda::Branches branches{7};
  std::unique_ptr<DeviceArray<char>> scratch;
  std::unique_ptr<DeviceArray<uint16_t>> normed;
  std::unique_ptr<cuda::Products> products;
  int context, bits, blocks;
  Model model;
  cuda::SampledQuery query{};
  cuda::SampledMemory memory{};
  std::unique_ptr<DeviceArray<int32_t>> block_ids, near_ids;
  std::unique_ptr<DeviceArray<cuda::SketchConstants>> constants;
  std::unique_ptr<DeviceArray<float>> cosines, sines;
  std::unique_ptr<DeviceArray<char>> work, records;
  std::vector<std::unique_ptr<DeviceArray<float>>>
      activations;  // x, qkv, attended, activated, logits, statistics
  std::unique_ptr<DeviceArray<uint64_t>> best;
  std::unique_ptr<DeviceArray<cuda::SampledQuery>> queries;
  std::unique_ptr<DeviceArray<uint16_t>> dense_rows, near_rows;
  std::vector<std::unique_ptr<PinnedSlab>> host_rows;  // of the layers from kDense on
};

}  // namespace token_bench
