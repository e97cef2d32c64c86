// SPDX-License-Identifier: Apache-2.0
//
// Made-up contexts in device memory, and a step over them.
#pragma once

#include "cuda_world.h"
#include "sampled/lsh_collision.h"
#include "sampled/lsh_projections.h"

namespace cuda_world {

// The world on the device, and a step over it.
struct Device {
  Device(World &world, uint64_t layer, const SampledParams &params = asking(SOUNDER_ATTENTION_SKETCH))
      : context(0), branches{world.shape.branches} {
    const cuda::SketchShape &s = world.shape.sketch;
    const int d = s.head_dim, queries = static_cast<int>(world.shape.lengths.size());
    for (int length : world.shape.lengths) context = std::max(context, length);
    pairs = d / 2;
    std::vector<float> cosine(static_cast<size_t>(queries) * pairs), sine = cosine;
    for (size_t i = 0; i < cosine.size(); ++i) {
      cosine[i] = world.shape.coarse ? 1 : std::cos(0.01f * static_cast<float>(i % 977));
      sine[i] = world.shape.coarse ? 0 : std::sin(0.01f * static_cast<float>(i % 977));
    }
    const bool turns = cuda::can_turn(d, pairs);
    if (!turns) append(world);
    blocks = std::make_unique<DeviceArray<int32_t>>(world.blocks);
    rows = std::make_unique<DeviceArray<uint16_t>>(world.rows);
    records = std::make_unique<DeviceArray<char>>(world.blocks.size() * s.kv_heads *
                                                  static_cast<size_t>(world.record_stride()));
    device_memory::copy(records->data(), world.aligned_records(),
                        world.blocks.size() * s.kv_heads * static_cast<size_t>(world.record_stride()));
    qkv = std::make_unique<DeviceArray<float>>(world.qkv);
    cosines = std::make_unique<DeviceArray<float>>(cosine);
    sines = std::make_unique<DeviceArray<float>>(sine);
    for (size_t c = 0; c < world.shape.lengths.size(); ++c)
      host_queries.push_back(world.query(c, blocks->data(), params));
    query = std::make_unique<DeviceArray<cuda::SampledQuery>>(host_queries);
    std::vector<cuda::SketchConstants> host_constants(1);
    host_constants[0].draw = draw_table();
    std::copy(world.signs.begin(), world.signs.end(), host_constants[0].signs);
    constants = std::make_unique<DeviceArray<cuda::SketchConstants>>(host_constants);
    output = std::make_unique<DeviceArray<float>>(std::vector<float>(size_t(queries) * s.heads * d, NAN));
    statistics = std::make_unique<DeviceArray<float>>(
        std::vector<float>(size_t(queries) * s.heads * cuda::kStatistics, 0.0f));
    launcher.multiprocessors = device_memory::multiprocessors();
    branches.give(launcher);
    launcher.keys_of_part = 100;
    cuda::SampledMemory places{};
    const cuda::DeviceStrategy strategy = cuda::device_strategy(cuda::device_strategy_of(params));
    auto place = [&](char *memory, cuda::SampledMemory *to) {
      const int64_t bytes = cuda::place_sampled(s, queries, context, launcher.multiprocessors, memory, to);
      return strategy.has_words ? bytes + cuda::place_words(s, queries, memory + bytes, to) : bytes;
    };
    const auto bytes = static_cast<size_t>(place(nullptr, &places));
    work = std::make_unique<DeviceArray<char>>(std::vector<char>(bytes, '\x7f'));
    step = {};
    place(work->data(), &step.memory);
    step.shape = s;
    step.strategy = strategy;
    step.quest_page = world.shape.quest_page;
    if (params.attention == SOUNDER_ATTENTION_LSH) sign(world);
    step.queries = queries;
    step.served = {0, s.kv_heads};
    step.context = context;
    step.layer = static_cast<int>(layer);
    step.query = query->data();
    step.constants = constants->data();
    step.rows = step.near_rows = rows->data();
    step.records = records->data();
    step.record_stride = world.record_stride();
    step.output = output->data();
    step.statistics = statistics->data();
    new_rows = {};
    new_rows.qkv = qkv->data();
    new_rows.cosines = cosines->data();
    new_rows.sines = sines->data();
    new_rows.pairs = pairs;
    new_rows.near_rows = rows->data();
    new_rows.is_done = !turns;
  }

  // The new tokens' rows, as what comes before `prepare` appends them: here K is not turned.
  static void append(World &world) {
    const cuda::SketchShape &s = world.shape.sketch;
    const size_t d = static_cast<size_t>(s.head_dim);
    for (size_t c = 0; c < world.shape.lengths.size(); ++c)
      for (int h = 0; h < s.kv_heads; ++h) {
        const int token = world.shape.lengths[c] - 1;
        const size_t block = static_cast<size_t>(world.blocks[world.first_block[c] + token / kIndexTokens]);
        uint16_t *row = world.rows.data() + block * world.row_values() +
                        (size_t(h) * kIndexTokens + token % kIndexTokens) * 2 * d;
        const float *qkv = world.qkv.data() + c * size_t(s.heads + 2 * s.kv_heads) * d;
        for (size_t i = 0; i < d; ++i) {
          row[i] = to_bf16(qkv[size_t(s.heads + h) * d + i]);
          row[d + i] = to_bf16(qkv[size_t(s.heads + s.kv_heads + h) * d + i]);
        }
      }
  }

  // Signatures of all keys but those of open blocks, those of block b at place b.
  void sign(const World &world) {
    const LshSignature &own = step.shape.signature;
    signatures = std::make_unique<DeviceArray<char>>(
        std::vector<char>(world.blocks.size() * step.shape.kv_heads * size_t(own.bytes()), '\x33'));
    projections = std::make_unique<DeviceArray<float>>(
        lsh_plane_projections(own.bits, own.tables, own.head_dim, World::kIndexSeed));
    std::vector<float> offsets;
    for (int i = 1; i <= cuda::kMostCollisions; ++i)
      for (float x : make_collision_offsets(own.bits, own.tables, i)) offsets.push_back(x);
    collisions = std::make_unique<DeviceArray<float>>(offsets);
    step.signatures = signatures->data();
    step.projections = projections->data();
    step.collisions = collisions->data();
    for (size_t c = 0; c < host_queries.size(); ++c) {
      const int end = host_queries[c].end, first = end / 2 / kIndexTokens * kIndexTokens;
      // In two pieces, on the mean of the first.
      cuda::SignStep piece{own,
                           step.shape.kv_heads,
                           world.shape.lsh_centred,
                           rows->data(),
                           host_queries[c].blocks,
                           host_queries[c].signatures,
                           signatures->data(),
                           projections->data(),
                           0,
                           first,
                           first};
      cuda::launch_sign(launcher, piece);
      piece.begin = first;
      piece.end = end;
      piece.mean_end = 0;
      cuda::launch_sign(launcher, piece);
    }
  }

  int context, pairs;
  device_memory::Branches branches;
  cuda::Launcher launcher;
  cuda::SampledStep step;
  cuda::NewRows new_rows;
  std::vector<cuda::SampledQuery> host_queries;
  std::unique_ptr<DeviceArray<int32_t>> blocks;
  std::unique_ptr<DeviceArray<uint16_t>> rows;
  std::unique_ptr<DeviceArray<char>> records, work, signatures;
  std::unique_ptr<DeviceArray<float>> qkv, cosines, sines, output, statistics, projections, collisions;
  std::unique_ptr<DeviceArray<cuda::SampledQuery>> query;
  std::unique_ptr<DeviceArray<cuda::SketchConstants>> constants;
};

}  // namespace cuda_world
