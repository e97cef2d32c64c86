// SPDX-License-Identifier: Apache-2.0
//
// Saving and restoring through the ABI: save and restore is the identity, whatever the index and the length,
// and steps go on beside it.
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "sampled_engine.h"
#include "saved_files.h"

namespace {

using tiny::Asked;
using tiny::Config;
using tiny::Folder;
using tiny::SampledEngine;
using tiny::Sequence;

Config small_config() {
  Config config = tiny::sampling_config();
  config.kv_blocks = 40;
  return config;
}

}  // namespace

TEST("a restored context attends and goes on like the one that was saved, in another engine too") {
  const Folder folder;
  for (bool f32 : {true, false}) {
    Config config = tiny::sampling_config();
    config.f32 = f32;
    config.dense_layers = 1;
    SampledEngine engine(config), other(config);
    const int32_t context = engine.filled(tiny::kPrompt);
    const std::string path = folder.at("one");
    CHECK(tiny::save(engine, context, tiny::kPrompt, path, "a note") == SOUNDER_OK);
    const int32_t here = tiny::restore(engine, path), there = tiny::restore(other, path);
    CHECK(here > 0 && there > 0 && other.length(there) == tiny::kPrompt);
    const std::vector<float> q = engine.query(1);
    for (int attention :
         {SOUNDER_ATTENTION_FULL, SOUNDER_ATTENTION_SKETCH, SOUNDER_ATTENTION_LSH, SOUNDER_ATTENTION_QUEST}) {
      const Asked asked{.attention = attention};
      const std::vector<float> expected = engine.attend(context, asked, q).output;
      CHECK(engine.attend(here, asked, q).output == expected);
      CHECK(other.attend(there, asked, q).output == expected);
    }
    const Sequence sketch = tiny::asking({0, {}}, {.from = tiny::kPrompt});
    const std::vector<int32_t> expected = tiny::continued(engine, context, 5, 20, sketch);
    CHECK(tiny::continued(engine, here, 5, 20, sketch) == expected);
    CHECK(tiny::continued(other, there, 5, 20, sketch) == expected);
  }
}

TEST("any number of first tokens can be saved, an edge of a block or none among them") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.filled(300);
  const std::vector<int32_t> tokens = tiny::random_tokens(300, 99, 3);
  for (int length : {0, 1, 127, 128, 129, 256, 299, 300}) {
    CHECK(tiny::save(engine, context, length, folder.at("part")) == SOUNDER_OK);
    const int32_t restored = tiny::restore(engine, folder.at("part"));
    const int32_t fork = sounder_context_fork(engine.handle(), context, length);
    CHECK(restored > 0 && engine.length(restored) == length);
    CHECK(tiny::describe(engine, folder.at("part")).tokens ==
          std::vector<int32_t>(tokens.begin(), tokens.begin() + length));
    CHECK(tiny::continued(engine, restored, 7, 5) == tiny::continued(engine, fork, 7, 5));
    sounder_context_free(engine.handle(), restored);
    sounder_context_free(engine.handle(), fork);
  }
  CHECK(folder.names() == std::vector<std::string>{"part"});
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40 - 3);
}

TEST("of what was saved, the whole blocks of the first tokens can be restored") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.filled(300);
  engine.step({tiny::asking({context, {4}}, {.from = 300})});
  CHECK(tiny::save(engine, context, 301, folder.at("a")) == SOUNDER_OK);
  const int cuts[][2] = {{0, 0},     {127, 0},   {128, 128}, {255, 128},
                         {256, 256}, {300, 256}, {301, 301}, {999, 301}};
  for (const auto &[tokens, left] : cuts) {
    const int32_t restored = tiny::restore(engine, folder.at("a"), {}, tokens);
    CHECK(restored > 0 && engine.length(restored) == left);
    CHECK(sounder_context_exact(engine.handle(), restored) == left);
    const int32_t fork = sounder_context_fork(engine.handle(), context, left);
    CHECK(tiny::continued(engine, restored, 7, 5) == tiny::continued(engine, fork, 7, 5));
    sounder_context_free(engine.handle(), restored);
    sounder_context_free(engine.handle(), fork);
  }
  CHECK(tiny::restore(engine, folder.at("a"), {}, -1) == SOUNDER_INVALID);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40 - 3);
}

TEST("which tokens were computed exactly, the token sampled last and the note come back") {
  const Folder folder;
  SampledEngine engine(tiny::sampling_config());
  const int32_t context = engine.filled(1500);
  Sequence sampled = tiny::asking({context, {4}}, {.from = 1500});
  const int32_t last = engine.step({sampled}).sampled[0];
  CHECK(sounder_context_exact(engine.handle(), context) == 1500);
  CHECK(tiny::save(engine, context, 1501, folder.at("a"), "Grüße") == SOUNDER_OK);
  const tiny::Described description = tiny::describe(engine, folder.at("a"));
  CHECK(description.status == SOUNDER_OK && description.note == "Grüße");
  CHECK(description.figures[SOUNDER_SAVED_TOKENS] == 1501 &&
        description.figures[SOUNDER_SAVED_EXACT] == 1500);
  CHECK(description.figures[SOUNDER_SAVED_FILE_BYTES] == int64_t(tiny::read_file(folder.at("a")).size()));
  const int32_t restored = tiny::restore(engine, folder.at("a"));
  CHECK(sounder_context_exact(engine.handle(), restored) == 1500);
  sampled.tokens = {SOUNDER_LAST_SAMPLED};
  const int32_t next = engine.step({sampled}).sampled[0];
  sampled.context = restored;
  CHECK(engine.step({sampled}).sampled[0] == next && last >= 0);
  const int32_t cut = tiny::restore(engine, folder.at("a"), {}, 1500);
  CHECK(engine.length(cut) == 1408 && sounder_context_exact(engine.handle(), cut) == 1408);
  CHECK(tiny::save(engine, context, 1500, folder.at("a")) == SOUNDER_OK);
  CHECK(sounder_context_exact(engine.handle(), tiny::restore(engine, folder.at("a"))) == 1500);
}

TEST("lsh tables are made again after a restore") {
  const Folder folder;
  Config config = tiny::sampling_config();
  SampledEngine engine(config);
  const int32_t context = engine.filled(tiny::kPrompt);
  const Sequence lsh = tiny::asking({0, {}}, {.attention = SOUNDER_ATTENTION_LSH, .from = tiny::kPrompt});
  CHECK(tiny::save(engine, context, tiny::kPrompt, folder.at("a")) == SOUNDER_OK);
  const int32_t restored = tiny::restore(engine, folder.at("a"));
  CHECK(tiny::continued(engine, restored, 5, 10, lsh) == tiny::continued(engine, context, 5, 10, lsh));
}

TEST("while contexts are saved and restored, steps of the same one go on and change nothing of it") {
  const Folder folder;
  Config config = small_config();
  SampledEngine engine(config), quiet(config);
  const int32_t context = engine.filled(600), alone = quiet.filled(600);
  const std::vector<int32_t> expected = tiny::continued(quiet, alone, 5, 300);
  std::atomic<bool> ended{false};
  int saves = 0;
  std::thread saver([&] {
    while (!ended || saves == 0) {
      const int length = engine.length(context) < 600 ? 0 : 600;
      CHECK(tiny::save(engine, context, length, folder.at("a")) == SOUNDER_OK);
      const int32_t restored = tiny::restore(engine, folder.at("a"));
      CHECK(restored > 0);
      sounder_context_free(engine.handle(), restored);
      ++saves;
    }
  });
  CHECK(tiny::continued(engine, context, 5, 300) == expected);
  ended = true;
  saver.join();
  const int32_t restored = tiny::restore(engine, folder.at("a"));
  const int32_t fork = sounder_context_fork(quiet.handle(), alone, 600);
  CHECK(tiny::continued(engine, restored, 8, 10) == tiny::continued(quiet, fork, 8, 10));
}

TEST("a context that is freed or cut while it is saved is saved as it was") {
  const Folder folder;
  SampledEngine engine(small_config());
  for (int round = 0; round < 20; ++round) {
    const int32_t context = engine.filled(1000);
    std::atomic<bool> ended{false};
    std::thread saver([&] {
      tiny::save(engine, context, 1000, folder.at("a"));
      ended = true;
    });
    for (int32_t done = 0; !ended && (done == 0 || done == 1000);)
      done = sounder_transfer_progress(engine.handle());
    sounder_context_truncate(engine.handle(), context, 200);
    engine.step({Sequence{context, tiny::random_tokens(300, 99, 8)}});
    saver.join();
    sounder_context_free(engine.handle(), context);
    const tiny::Described saved = tiny::describe(engine, folder.at("a"));
    CHECK(saved.tokens == tiny::random_tokens(1000, 99, 3));
    const int32_t restored = tiny::restore(engine, folder.at("a"));
    CHECK(restored > 0);
    sounder_context_free(engine.handle(), restored);
  }
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40);
}

TEST("a cancelled transfer leaves no file and no block behind") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.create();
  CHECK(sounder_context_fill(engine.handle(), context, 2900, 1) == SOUNDER_OK);
  CHECK(sounder_transfer_cancel(engine.handle()) == SOUNDER_OK);  // none runs: nothing happens
  int cancelled = 0;
  for (int attempt = 0; attempt < 200 && cancelled == 0; ++attempt) {
    std::atomic<int32_t> status{1};
    std::thread saver([&] { status = tiny::save(engine, context, 2900, folder.at("a")); });
    while (status == 1) sounder_transfer_cancel(engine.handle());
    saver.join();
    if (status != SOUNDER_CANCELLED) unlink(folder.at("a").c_str());
    cancelled += status == SOUNDER_CANCELLED ? 1 : 0;
    CHECK(folder.names().empty());
  }
  CHECK(cancelled > 0);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40 - 23);
}

TEST("a restore that has no blocks, no context or no room for its length says so") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.filled(1500);
  CHECK(tiny::save(engine, context, 1500, folder.at("a")) == SOUNDER_OK);
  Config config = small_config();
  config.kv_blocks = 11;
  SampledEngine few(config);
  CHECK(tiny::restore(few, folder.at("a")) == SOUNDER_OUT_OF_BLOCKS);
  CHECK(few.error().find("12 KV blocks; 11 of 11 are free") != std::string::npos);
  config = small_config();
  config.context = 1499;
  SampledEngine brief(config);
  CHECK(tiny::restore(brief, folder.at("a")) == SOUNDER_CONTEXT_FULL);
  CHECK(brief.error().find("1500 tokens are over the longest context of 1499") != std::string::npos);
  config = small_config();
  config.max_contexts = 1;
  SampledEngine one(config);
  one.create();
  CHECK(tiny::restore(one, folder.at("a")) == SOUNDER_OUT_OF_BLOCKS);
  CHECK(one.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40);
}

TEST("when the system takes no more bytes, the reason is told and the old file stays") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.filled(600);
  CHECK(tiny::save(engine, context, 100, folder.at("a")) == SOUNDER_OK);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{20000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  CHECK(tiny::save(engine, context, 600, folder.at("a")) == SOUNDER_IO);
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK(engine.error().find("may write files of 19.53 KiB") != std::string::npos);
  CHECK(folder.names() == std::vector<std::string>{"a"});
  CHECK(engine.length(tiny::restore(engine, folder.at("a"))) == 100);
  CHECK(tiny::save(engine, context, 600, folder.at("missing/a")) == SOUNDER_IO);
  CHECK(engine.error().find("No such file or directory") != std::string::npos);
}

TEST("wrong arguments are refused") {
  const Folder folder;
  SampledEngine engine(small_config());
  const int32_t context = engine.filled(10);
  CHECK(tiny::save(engine, context, 11, folder.at("a")) == SOUNDER_INVALID);
  CHECK(tiny::save(engine, context, -1, folder.at("a")) == SOUNDER_INVALID);
  CHECK(tiny::save(engine, context + 1, 1, folder.at("a")) == SOUNDER_UNKNOWN_CONTEXT);
  CHECK(tiny::save(engine, context, 1, "") == SOUNDER_INVALID);
  CHECK(tiny::save(engine, context, 1, folder.at("a") + std::string("\0b", 2)) == SOUNDER_INVALID);
  CHECK(tiny::save(engine, context, 1, folder.at("a"), std::string(4097, 'x')) == SOUNDER_INVALID);
  CHECK(tiny::restore(engine, folder.at("a")) == SOUNDER_IO);
  CHECK(tiny::restore(engine, folder.at("")) == SOUNDER_IO);
  CHECK(sounder_context_restore(engine.handle(), 9, tiny::raw("a"), 1, nullptr) == SOUNDER_INVALID);
  CHECK(folder.names().empty());
  tiny::Engine empty;
  CHECK(tiny::save(empty, 1, 0, folder.at("a")) == SOUNDER_NOT_LOADED);
  CHECK(tiny::restore(empty, folder.at("a")) == SOUNDER_NOT_LOADED);
}
