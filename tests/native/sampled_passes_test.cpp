// SPDX-License-Identifier: Apache-2.0
#include "sampled/sampled_passes.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "threads.h"

using namespace sounder;

namespace {

// A strategy whose second phase runs as a whole.
class Phases : public Strategy {
 public:
  bool is_shared(const StrategyView &) const override { return true; }
  bool is_segmented(int phase) const override { return phase != 1; }
  void choose(const StrategyView &, int, int, Choice &) const override {}
};

const Phases kStrategy;

View view_of(int phases, int segments) {
  View view{};
  view.strategy = &kStrategy;
  view.phases = phases;
  view.segments = segments;
  view.piece = -1;
  return view;
}

int expected_chunks(const View &view, int pass) {
  return (pass == 1 && pass < view.phases ? 1 : view.segments) + (pass == 0 ? 1 : 0);
}

// What has happened to a view's passes so far.
struct Record {
  std::atomic<int> chunks[kMostPhases + 1]{};
  std::atomic<uint64_t> which[kMostPhases + 1]{};  // bits
  std::atomic<int> finished[kMostPhases + 1]{};
};

void chunks_follow_the_pass_before(ThreadTeam &team, std::vector<View> &views) {
  SampledPasses passes(static_cast<int>(views.size()));
  std::vector<Record> records(views.size());
  std::atomic<int> wrong{0}, ran{0};
  auto record_of = [&](const Piece &piece) -> Record & {
    return records[static_cast<size_t>(piece.view - views.data())];
  };
  auto body = [&](int place, int thread) {
    passes.run(
        place, thread,
        [&](const Piece &piece, int chunk) {
          Record &record = record_of(piece);
          wrong += chunk < 0 || chunk >= piece.chunks;
          for (int pass = 0; pass < piece.pass; ++pass) wrong += record.finished[pass] != 1;
          ++record.chunks[piece.pass];
          const uint64_t bit = uint64_t{1} << chunk;
          wrong += (record.which[piece.pass].fetch_or(bit) & bit) != 0;
          ++ran;
        },
        [&](const Piece &piece) {
          Record &record = record_of(piece);
          wrong += record.chunks[piece.pass] != piece.chunks;
          ++record.finished[piece.pass];
        });
  };
  const int chunks = passes.plan(views);
  team.run(chunks, body);
  CHECK(wrong == 0);
  CHECK(ran == chunks);
  for (size_t i = 0; i < views.size(); ++i)
    for (int pass = 0; pass <= views[i].phases; ++pass) {
      CHECK(records[i].chunks[pass] == expected_chunks(views[i], pass));
      CHECK(records[i].finished[pass] == 1);
    }
}

// The others must not wait for ever for the pass that failed.
void a_failure_ends_all_passes(ThreadTeam &team) {
  SampledPasses passes(2);
  for (int round = 0; round < 200; ++round) {
    std::vector<View> views{view_of(3, 8), view_of(2, 5)};
    std::atomic<int> after{0};
    auto body = [&](int place, int thread) {
      passes.run(
          place, thread,
          [&](const Piece &piece, int chunk) {
            if (piece.pass == 1 && piece.view == &views[0]) throw std::runtime_error("broken");
            after += piece.pass > 1 && piece.view == &views[0] && chunk >= 0;
          },
          [](const Piece &) {});
    };
    std::string message;
    try {
      team.run(passes.plan(views), body);
    } catch (const std::runtime_error &error) {
      message = error.what();
    }
    CHECK(message == "broken");
    CHECK(after == 0);
  }
}

}  // namespace

TEST("a chunk runs once, when its own view's pass before has ended, and passes finish once") {
  for (int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    for (int round = 0; round < 100; ++round) {
      std::vector<View> one{view_of(3, 1 + round % 9)};
      chunks_follow_the_pass_before(team, one);
      std::vector<View> many;
      for (int i = 0; i < 7; ++i) many.push_back(view_of((round + i) % (kMostPhases + 1), 1 + round * i % 8));
      chunks_follow_the_pass_before(team, many);
    }
  }
}

TEST("what a chunk throws is thrown on, and nobody waits for the pass that it ends") {
  for (int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    a_failure_ends_all_passes(team);
  }
}
