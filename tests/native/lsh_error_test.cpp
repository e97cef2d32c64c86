// SPDX-License-Identifier: Apache-2.0
//
// What lsh reports as its error, beside the error that it makes over seeds, and beside what pairs of keys say
// of it: keys that lie together are found together, which the reported one leaves out.
#include "lsh_world.h"
#include "statistics.h"
#include "threads.h"

using namespace lsh_world;

namespace {

constexpr int kDim = 24, kCount = 512, kTopics = 16, kBits = 6, kTables = 40, kCollisions = 2, kHeads = 2;

double dot(const float *a, const float *b) { return std::inner_product(a, a + kDim, b, 0.0); }
double cosine(const float *a, const float *b) { return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b)); }

LshShape f32_shape() {
  LshShape shape = shape_of(kDim, kBits, kTables, 1, 1, true);
  shape.centred = false;
  return shape;
}

// Keys and values around those of topics; `alike`: the topic's share of a value's variance.
struct World {
  explicit World(double alike) : keys(f32_shape(), kCount, 3), values(size_t(kCount) * kDim) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> topics(2 * kTopics * kDim);
    for (float &x : topics) x = normal(random);
    const float own = static_cast<float>(std::sqrt(1 - alike)), common = static_cast<float>(std::sqrt(alike));
    for (int i = 0; i < kCount; ++i) {
      const float *topic = &topics[size_t(random() % kTopics) * 2 * kDim];
      for (int j = 0; j < kDim; ++j) {
        keys.key(0, i)[j] = 0.8f * topic[j] + 0.6f * normal(random);
        values[size_t(i) * kDim + j] = common * topic[kDim + j] + own * normal(random);
      }
    }
    keys.lay_out();
    keys.write_values([&](int key, int dimension) { return values[size_t(key) * kDim + dimension]; });
    q.resize(size_t(kHeads) * kDim);
    for (float &x : q) x = 1.5f * normal(random);
    for (int head = 0; head < kHeads; ++head) attend_all(head);
  }

  const float *query(int head) const { return &q[size_t(head) * kDim]; }

  void attend_all(int head) {
    std::vector<double> weight(kCount), output(kDim);
    double sum = 0;
    for (int i = 0; i < kCount; ++i)
      sum += weight[i] = std::exp(dot(query(head), keys.key(0, i)) / std::sqrt(double{kDim}));
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kDim; ++j) output[j] += weight[i] / sum * values[size_t(i) * kDim + j];
    exact.push_back(output);
    std::vector<double> part(size_t(kCount) * kDim);
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kDim; ++j)
        part[size_t(i) * kDim + j] = weight[i] / sum * (values[size_t(i) * kDim + j] - output[j]);
    parts.push_back(part);
  }

  Keys keys;
  std::vector<float> values, q;
  std::vector<std::vector<double>> exact;  // [kHeads] outputs
  std::vector<std::vector<double>> parts;  // [kHeads][kCount][kDim] what a key moves its head's output by
};

// Sums over heads of |output - exact|²: as made, and as reported.
struct Errors {
  double made, reported;
};

// Means over seeds.
Errors errors_of(const World &world) {
  constexpr int kSeeds = 600;
  ThreadTeam team(1);
  int levels = 0;
  const char *level = usable_levels(&levels)[0]->name;
  const auto strategy = strategy_of(f32_shape(), level, kHeads);
  std::mt19937 random(5);
  Errors errors{};
  for (int seed = 0; seed < kSeeds; ++seed) {
    LshTables tables(make_lsh_index(f32_shape(), level, uint64_t(seed), kPlenty));
    world.keys.cover(tables, team, kCount);
    Asker asker(world.keys, tables, kHeads, 0, kCount, kCollisions);
    asker.q = world.q;
    asker.aim(0, 0);
    std::vector<Found> found = asker.ask(*strategy);
    for (int head = 0; head < kHeads; ++head) {
      std::vector<float> signs(kDim), output(kDim);
      for (float &sign : signs) sign = random() & 1 ? 1.0f : -1.0f;
      const std::vector<float> state = attend(asker, found[size_t(head)], head, level, signs);
      const SampledResult result = finish_sampled(state.data(), signs.data(), kDim, output.data());
      for (int j = 0; j < kDim; ++j) {
        errors.made += std::pow(output[j] - world.exact[head][j], 2) / kSeeds;
        errors.reported += double{result.squared_error} * output[j] * output[j] / kSeeds;
      }
    }
  }
  return errors;
}

// The variance of what a key moves the output by, over its own chance and over the chances of all pairs.
struct Variance {
  double independent = 0, pairs = 0;
};

Variance variance_of(const World &world) {
  Variance variance;
  std::vector<double> cosines(kCount), chance(kCount);
  for (int head = 0; head < kHeads; ++head) {
    for (int i = 0; i < kCount; ++i) {
      cosines[i] = cosine(world.query(head), world.keys.key(0, i));
      chance[i] = reference::lsh_probability(kBits, kTables, kCollisions, cosines[i]);
    }
    for (int i = 0; i < kCount; ++i)
      for (int other = i; other < kCount; ++other) {
        const double *a = &world.parts[head][size_t(i) * kDim], *b = &world.parts[head][size_t(other) * kDim];
        const double product = std::inner_product(a, a + kDim, b, 0.0);
        if (other == i) {
          variance.independent += product * (1 - chance[i]) / chance[i];
          continue;
        }
        const double together =
            reference::lsh_pair_probability(kBits, kTables, kCollisions, cosines[i], cosines[other],
                                            cosine(world.keys.key(0, i), world.keys.key(0, other)));
        variance.pairs += 2 * product * (together / (chance[i] * chance[other]) - 1);
      }
  }
  variance.pairs += variance.independent;
  return variance;
}

}  // namespace

TEST("over seeds, two keys are found together as often as the formula says of their angles") {
  constexpr int kSeeds = 2000, kPairs = 24;
  ThreadTeam team(1);
  int levels = 0;
  const char *level = usable_levels(&levels)[0]->name;
  const World world(0.5);
  const float *q = world.query(0);
  const auto strategy = strategy_of(f32_shape(), level);
  std::vector<int> together(3 * kPairs);
  for (int seed = 0; seed < kSeeds; ++seed) {
    LshTables tables(make_lsh_index(f32_shape(), level, uint64_t(seed), kPlenty));
    world.keys.cover(tables, team, kCount);
    for (int collisions : {1, 2, 3}) {
      Asker asker(world.keys, tables, 1, 0, kCount, collisions);
      asker.q.assign(q, q + kDim);
      asker.aim(0, 0);
      const std::vector<Found> found = asker.ask(*strategy);
      const auto has = [&](int key) {
        return std::binary_search(found[0].keys.begin(), found[0].keys.end(), key);
      };
      for (int i = 0; i < kPairs; ++i)
        together[size_t(collisions - 1) * kPairs + i] += has(i) && has(i + 1 + i % 5);
    }
  }
  for (int collisions : {1, 2, 3})
    for (int i = 0; i < kPairs; ++i) {
      const float *one = world.keys.key(0, i), *two = world.keys.key(0, i + 1 + i % 5);
      const double chance = reference::lsh_pair_probability(kBits, kTables, collisions, cosine(q, one),
                                                            cosine(q, two), cosine(one, two));
      CHECK(is_likely_count(together[size_t(collisions - 1) * kPairs + i], kSeeds, chance, 1e-5));
    }
}

TEST("the reported error covers the true one where values have nothing to do with keys") {
  const World world(0.0);
  const Errors errors = errors_of(world);
  const Variance variance = variance_of(world);
  CHECK_NEAR(errors.reported / variance.independent, 1, 0.1);
  CHECK_NEAR(variance.pairs / variance.independent, 1, 0.1);
  CHECK_NEAR(errors.made / errors.reported, 1, 0.2);
}

TEST("where like keys have like values, the true error is that of pairs, and more than the reported one") {
  const World world(0.8);
  const Errors errors = errors_of(world);
  const Variance variance = variance_of(world);
  CHECK_NEAR(errors.made / variance.pairs, 1, 0.15);
  CHECK_NEAR(errors.reported / variance.independent, 1, 0.15);
  CHECK(errors.made > 1.3 * errors.reported);
}
