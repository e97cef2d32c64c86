// SPDX-License-Identifier: Apache-2.0
//
// Files of saved contexts that are not what they should be: each is refused, with what is wrong, and leaves
// the engine as it was.
#include <cstddef>

#include "sampled_engine.h"
#include "saved/format.h"
#include "saved/xxh64.h"
#include "saved_files.h"

namespace {

using sounder::SavedHead;
using tiny::Config;
using tiny::Folder;
using tiny::SampledEngine;

Config small_config() {
  Config config = tiny::sampling_config();
  config.kv_blocks = 16;
  config.max_contexts = 2;
  return config;
}

// A saved context of 300 tokens, and what becomes of changed copies.
struct World {
  World() : engine(small_config()) {
    context = engine.filled(300);
    CHECK(tiny::save(engine, context, 300, path, "note") == SOUNDER_OK);
    bytes = tiny::read_file(path);
    std::memcpy(&head, bytes.data(), sizeof head);
  }
  // The status of a restore of this, and that nothing was lost.
  int32_t status_of(const std::vector<uint8_t> &changed) {
    tiny::write_file(path, changed);
    const int32_t status = tiny::restore(engine, path);
    if (status > 0) sounder_context_free(engine.handle(), status);
    CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 16 - 3);
    return status;
  }
  bool says(const char *words) { return engine.error().find(words) != std::string::npos; }
  // With this head instead, its checksum made right.
  std::vector<uint8_t> with_head(const SavedHead &changed) const {
    std::vector<uint8_t> copy = bytes;
    std::memcpy(copy.data(), &changed, sizeof changed);
    std::memset(copy.data() + offsetof(SavedHead, header_checksum), 0, 8);
    const uint64_t sum = sounder::xxh64(copy.data(), std::min(copy.size(), size_t{head.header_bytes}));
    std::memcpy(copy.data() + offsetof(SavedHead, header_checksum), &sum, 8);
    return copy;
  }

  Folder folder;
  const std::string path = folder.at("one");
  SampledEngine engine;
  int32_t context;
  std::vector<uint8_t> bytes;
  SavedHead head;
};

}  // namespace

TEST("a changed byte anywhere in the header is found") {
  World world;
  CHECK(world.status_of(world.bytes) > 0);
  for (size_t i = 0; i < world.head.header_bytes; ++i) {
    std::vector<uint8_t> changed = world.bytes;
    changed[i] ^= static_cast<uint8_t>(1 + sounder::random_bits(1, 2, i) % 255);
    CHECK(world.status_of(changed) == SOUNDER_INVALID);
    CHECK(world.says("Cannot use the saved context"));
  }
}

TEST("a changed bit in a block or in the checksums is found") {
  World world;
  const uint64_t after = world.bytes.size() - world.head.header_bytes;
  for (uint64_t i = 0; i < 1000; ++i) {
    const uint64_t place = world.head.header_bytes + sounder::random_bits(1, 3, i) % after;
    std::vector<uint8_t> changed = world.bytes;
    changed[place] ^= static_cast<uint8_t>(1 << sounder::random_bits(1, 4, i) % 8);
    CHECK(world.status_of(changed) == SOUNDER_INVALID);
    CHECK(world.says("of 3 is damaged"));
  }
}

TEST("a file that ends early, at any part of it, or goes on is refused") {
  World world;
  const size_t header = world.head.header_bytes, all = world.bytes.size();
  std::vector<size_t> lengths = {0,
                                 1,
                                 7,
                                 8,
                                 12,
                                 sizeof(SavedHead) - 1,
                                 sizeof(SavedHead),
                                 400,
                                 header - 1,
                                 header,
                                 header + 1,
                                 all - 25,
                                 all - 24,
                                 all - 8,
                                 all - 1};
  for (uint64_t i = 0; i < 100; ++i) lengths.push_back(sounder::random_bits(1, 5, i) % all);
  for (size_t length : lengths) {
    CHECK(world.status_of({world.bytes.begin(), world.bytes.begin() + long(length)}) == SOUNDER_INVALID);
    CHECK(world.says(length < header ? "it ends inside its header" : "bytes and should have"));
  }
  std::vector<uint8_t> longer = world.bytes;
  longer.push_back(0);
  CHECK(world.status_of(longer) == SOUNDER_INVALID && world.says("bytes and should have"));
}

TEST("what is no saved context, or of another version of the format, is told apart") {
  World world;
  CHECK(world.status_of(std::vector<uint8_t>(5000, 'x')) == SOUNDER_INVALID);
  CHECK(world.says("it is no saved context"));
  SavedHead head = world.head;
  head.version = 2;
  CHECK(world.status_of(world.with_head(head)) == SOUNDER_INVALID);
  CHECK(world.says("it has version 2 of the format, this engine reads version 1"));
}

TEST("a header that contradicts itself is refused, its checksum right or not") {
  World world;
  CHECK(world.status_of(world.with_head(world.head)) > 0);
  const auto refused = [&](auto change) {
    SavedHead head = world.head;
    change(head);
    CHECK(world.status_of(world.with_head(head)) == SOUNDER_INVALID);
    CHECK(world.says("contradicts itself"));
  };
  for (int32_t value : {-1, 8000, 1 << 20, INT32_MAX, INT32_MIN}) {
    refused([&](SavedHead &head) { head.tokens = value; });
    refused([&](SavedHead &head) { head.note_bytes = value; });
  }
  refused([](SavedHead &head) { head.file_bytes += 1; });
  refused([](SavedHead &head) { head.last_sampled = 99; });
  refused([](SavedHead &head) { head.last_sampled = -2; });
  refused([](SavedHead &head) { head.sampled_from = 300; });
  refused([](SavedHead &head) { head.sampled_from = -1; });
}

TEST("a token that is not in the vocabulary is refused") {
  World world;
  std::vector<uint8_t> changed = world.bytes;
  // head, 6 frequencies, 2 layers, the note
  const int32_t token = 99;
  std::memcpy(changed.data() + sizeof(SavedHead) + 24 + 2 + 4, &token, 4);
  world.bytes = changed;
  CHECK(world.status_of(world.with_head(world.head)) == SOUNDER_INVALID && world.says("contradicts itself"));
}

TEST("what differs from the engine is named") {
  World world;
  const auto refused = [&](auto change, const char *words) {
    Config config = small_config();
    change(config);
    SampledEngine other(config);
    CHECK(tiny::restore(other, world.path) == SOUNDER_INVALID);
    CHECK(other.error().find(words) != std::string::npos);
    CHECK(tiny::describe(other, world.path).status == SOUNDER_INVALID);
  };
  refused([](Config &c) { c.layers = 3; }, "saved with 2 layers, this engine has 3");
  refused([](Config &c) { c.kv_heads = 4; }, "saved with 2 KV heads, this engine has 4");
  refused([](Config &c) { c.head_dim = 16; }, "saved with 12 dimensions a head, this engine has 16");
  refused([](Config &c) { c.f32 = false; }, "saved with 4 bytes a KV value, this engine has 2");
  refused([](Config &c) { c.vocabulary = 98; }, "saved with 99 tokens in the vocabulary, this engine has 98");
  refused([](Config &c) { c.rope_dims = 10; }, "saved with 12 dimensions under RoPE, this engine has 10");
  refused([](Config &c) { c.sketch_bits = 1; }, "saved with 2 bits a sketched dimension, this engine has 1");
  refused([](Config &c) { c.sketch_centring = SOUNDER_CENTRING_OFF; }, "centring of sketches");
  refused([](Config &c) { c.quest_page = 32; },
          "saved with 16 tokens a page with bounds, this engine has 32");
  refused([](Config &c) { c.rope_scale = 2; }, "saved with RoPE scaled by 1, this engine scales by 2");
  refused([](Config &c) { c.dense_layers = 1; }, "layer 0 was saved with an index");
}

TEST("a model or tokenizer of another identity is named") {
  World world;
  CHECK(tiny::restore(world.engine, world.path, tiny::Identity::other_model()) == SOUNDER_INVALID);
  CHECK(world.says("saved with another model."));
  CHECK(tiny::restore(world.engine, world.path, tiny::Identity::other_tokenizer()) == SOUNDER_INVALID);
  CHECK(world.says("saved with another tokenizer."));
}

TEST("an index that both lack needs no agreement about its figures") {
  Config config = small_config();
  config.sketch_bits = config.quest_page = 0;
  SampledEngine engine(config);
  const Folder folder;
  const int32_t context = engine.filled(300);
  CHECK(tiny::save(engine, context, 300, folder.at("a")) == SOUNDER_OK);
  config.sketch_centring = SOUNDER_CENTRING_CONTEXT;
  config.dense_layers = 1;
  config.lsh_bits = 5;
  SampledEngine other(config);
  CHECK(tiny::restore(other, folder.at("a")) > 0);
}
