// SPDX-License-Identifier: Apache-2.0
//
// The strategies that choose the best keys: topk and quest, against sorting everything.
#include "strategy_world.h"

using namespace strategy_world;

namespace {

// The keys of the first items, by descending score and then by place, that cover `budget` keys from begin on.
std::vector<int> best_by_sorting(const std::vector<double> &scores, int unit, int begin, int budget) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores[a] > scores[b]; });
  std::vector<int> keys;
  for (int item : order) {
    if (static_cast<int>(keys.size()) >= budget) break;
    for (int key = std::max(begin, item * unit); key < (item + 1) * unit; ++key) keys.push_back(key);
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<double> key_scores(const World &world, int head) {
  std::vector<double> scores(world.shape.end);
  for (int key = 0; key < world.shape.end; ++key)
    scores[key] = key < world.shape.begin ? -1e9 : world.dot(head, key);
  return scores;
}

std::vector<double> page_scores(const World &world, int head) {
  const int d = world.shape.head_dim, page = world.shape.quest_page;
  std::vector<double> scores(world.shape.end / page);
  for (size_t p = 0; p < scores.size(); ++p) {
    for (int j = 0; j < d; ++j) {
      const double x = world.q[size_t(head) * d + j];
      double most = -1e9;
      for (int i = 0; i < page; ++i) most = std::max(most, x * world.k[(p * page + i) * d + j]);
      scores[p] += most;
    }
  }
  return scores;
}

void check_topk(World &world, const char *level, int threads = 1) {
  const auto strategy = make_topk_strategy(world.strategy_shape(level));
  const std::vector<Chosen> chosen = world.run(*strategy, 1, threads);
  CHECK(static_cast<int>(chosen.size()) == world.shape.heads);
  for (int head = 0; head < world.shape.heads; ++head) {
    CHECK(chosen[head].certain);
    CHECK(chosen[head].keys ==
          best_by_sorting(key_scores(world, head), 1, world.shape.begin, world.shape.budget));
  }
}

void check_quest(World &world, const char *level) {
  const auto strategy = make_quest_strategy(world.strategy_shape(level));
  const std::vector<Chosen> chosen = world.run(*strategy, 1);
  for (int head = 0; head < world.shape.heads; ++head) {
    CHECK(chosen[head].certain);
    CHECK(chosen[head].keys == best_by_sorting(page_scores(world, head), world.shape.quest_page,
                                               world.shape.begin, world.shape.budget));
  }
}

TEST("topk chooses what sorting chooses, of equal scores the earlier keys") {
  each_level([](const char *level) {
    for (int heads = 1; heads <= 8; ++heads) {
      const int d[] = {64, 80, 96, 128, 256, 7, 33, 8};
      World world({heads, d[heads - 1], heads * 3 % 7, 896 + 128 * heads, 256 + 31 * heads, heads % 2 == 0},
                  1);
      check_topk(world, level);
    }
  });
}

TEST("topk stops among negative scores too") {
  each_level([](const char *level) {
    for (int budget : {256, 700, 1000}) {
      World world({3, 64, 4, 1024, budget}, 8);
      for (float &x : world.q) x = -std::fabs(x);
      for (float &x : world.k) x = std::fabs(x);
      world.lay_out();
      check_topk(world, level);
    }
  });
}

TEST("topk of all keys chooses all") {
  each_level([](const char *level) {
    for (int more : {0, 1, 1000}) {
      World world({2, 64, 5, 640, 635 + more}, 2);
      std::vector<int> all(635);
      std::iota(all.begin(), all.end(), 5);
      for (const Chosen &chosen : world.run(*make_topk_strategy(world.strategy_shape(level)), 1))
        CHECK(chosen.keys == all);
    }
  });
}

TEST("neither segments nor threads change what topk chooses") {
  each_level([](const char *level) {
    for (int segment_keys : {128, 384, 2048, 4096})
      for (int threads : {1, 3}) {
        World world({3, 64, 130, 4096, 300, false, 0, segment_keys}, 3);
        check_topk(world, level, threads);
      }
  });
}

TEST("topk's choices move with the keys") {
  each_level([](const char *level) {
    World world({2, 64, 4, 1024, 256}, 4);
    std::normal_distribution<float> normal;
    for (float &x : world.q) x = normal(world.random);
    for (float &x : world.k) x = normal(world.random);
    world.lay_out();
    const auto strategy = make_topk_strategy(world.strategy_shape(level));
    const std::vector<Chosen> before = world.run(*strategy, 1);
    std::vector<int> to(world.shape.end);
    std::iota(to.begin(), to.end(), 0);
    std::shuffle(to.begin() + world.shape.begin, to.end(), world.random);
    const std::vector<float> old = world.k;
    for (int key = 0; key < world.shape.end; ++key)
      std::copy_n(&old[size_t(key) * 64], 64, &world.k[size_t(to[key]) * 64]);
    world.lay_out();
    const std::vector<Chosen> after = world.run(*strategy, 1);
    for (int head = 0; head < 2; ++head) {
      std::vector<int> moved;
      for (int key : before[head].keys) moved.push_back(to[key]);
      std::sort(moved.begin(), moved.end());
      CHECK(after[head].keys == moved);
    }
  });
}

TEST("topk takes NaN for the worst, and infinities for what they are") {
  each_level([](const char *level) {
    World world({1, 64, 0, 512, 256, true}, 5);
    const float infinity = std::numeric_limits<float>::infinity();
    world.q.assign(64, 0.0f);
    world.q[0] = 1.0f;
    for (int key = 0; key < 512; ++key)
      world.k[size_t(key) * 64] = key % 2 == 0 ? std::nanf("") : key == 11 ? infinity : -infinity;
    world.lay_out();
    const Chosen chosen = world.run(*make_topk_strategy(world.strategy_shape(level)), 1)[0];
    CHECK(static_cast<int>(chosen.keys.size()) == 256);
    for (int key : chosen.keys) CHECK(key % 2 == 1);
  });
}

TEST("quest chooses the pages with the best bounds, of equal bounds the earlier") {
  each_level([](const char *level) {
    for (int page : {16, 32, 64})
      for (int begin : {0, 4, 15, 16, 70, 129})
        for (bool f32 : {false, true}) {
          World world({1 + begin % 8, begin % 2 ? 80 : 64, begin, 1664, 256 + begin, f32, page, 384},
                      begin + 1);
          check_quest(world, level);
        }
  });
}

TEST("quest counts the keys of the page that begins in the sink, not its size") {
  each_level([](const char *level) {
    // The page of the sink is the best one: 12 of its 16 keys count, and one more page is needed.
    World world({1, 64, 4, 1024, 256, true, 16}, 6);
    for (int j = 0; j < 64; ++j) world.k[size_t(8) * 64 + j] = world.q[j] * 8;
    world.lay_out();
    check_quest(world, level);
    const Chosen chosen = world.run(*make_quest_strategy(world.strategy_shape(level)), 1)[0];
    CHECK(chosen.keys.front() == 4 && chosen.keys.size() == 12 + 16 * 16);
  });
}

TEST("quest needs its index") {
  World world({1, 64, 4, 1024, 256}, 7);
  CHECK(make_quest_strategy(world.strategy_shape("scalar")) == nullptr);
}

}  // namespace
