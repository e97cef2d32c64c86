// SPDX-License-Identifier: Apache-2.0
//
// The loops of lsh of every level that this machine has, against plain ones.
#include "lsh_world.h"

using namespace lsh_world;

namespace {

struct Hashed {
  std::vector<float> x;
  std::vector<uint16_t> codes;  // [tables][stride]
  int64_t stride;
};

Hashed hash_with(const LshIndex &index, std::vector<float> x) {
  const LshShape &shape = index.shape();
  const int vectors = static_cast<int>(x.size()) / shape.head_dim;
  Hashed hashed{std::move(x), {}, vectors + 3};
  hashed.codes.assign(size_t(shape.tables) * hashed.stride, 0xabcd);
  const size_t words = size_t(lsh_sign_words(shape.bits * shape.tables, vectors));
  std::vector<uint32_t> scratch(words + 1, 0x5a5a5a5a);
  index.kernels().hash({hashed.x.data(), vectors, shape.head_dim, index.projections(), shape.bits,
                        shape.tables, hashed.codes.data(), hashed.stride, scratch.data()});
  CHECK(scratch.back() == 0x5a5a5a5a);
  return hashed;
}

// Returns how many codes were compared.
int check_codes(const LshIndex &index, const Hashed &hashed) {
  const LshShape &shape = index.shape();
  const int d = shape.head_dim, vectors = static_cast<int>(hashed.x.size()) / d;
  const std::vector<double> projections = projections_of(index);
  int compared = 0;
  for (int i = 0; i < vectors; ++i) {
    const std::vector<double> x(hashed.x.begin() + size_t(i) * d, hashed.x.begin() + size_t(i + 1) * d);
    const auto codes = reference::lsh_codes(x.data(), d, projections.data(), shape.bits, shape.tables);
    for (int table = 0; table < shape.tables; ++table) {
      if (codes.doubtful[table]) continue;
      CHECK(hashed.codes[size_t(table) * hashed.stride + i] == codes.of_table[table]);
      ++compared;
    }
  }
  for (int table = 0; table < shape.tables; ++table)
    for (int64_t i = vectors; i < hashed.stride; ++i)
      CHECK(hashed.codes[size_t(table) * hashed.stride + i] == 0xabcd);
  return compared;
}

std::vector<float> normal_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float &value : x) value = normal(random);
  return x;
}

}  // namespace

TEST("codes are the signs of the projections, for every level, size of code, head_dim and count") {
  each_level([](const char *level) {
    int seed = 0;
    for (int d : {1, 7, 64, 80, 96, 128, 256})
      for (int bits : {1, 2, 5, 8, 9, 10, 15})
        for (int vectors : {1, 2, 5, 13, 31}) {
          const int tables = 1 + (seed * 7) % 11;
          const LshIndex index(shape_of(d, bits, tables), level, uint64_t(++seed), kPlenty);
          const int compared = check_codes(index, hash_with(index, normal_values(size_t(vectors) * d, seed)));
          CHECK(compared > vectors * tables * 9 / 10);
        }
  });
}

TEST("a vector of zeros and one of NaN have the code 0 everywhere") {
  each_level([](const char *level) {
    const LshIndex index(shape_of(48, 6, 11), level, 3, kPlenty);
    for (float value : {0.0f, std::numeric_limits<float>::quiet_NaN()}) {
      const Hashed hashed = hash_with(index, std::vector<float>(7 * 48, value));
      for (int table = 0; table < 11; ++table)
        for (int i = 0; i < 7; ++i) CHECK(hashed.codes[size_t(table) * hashed.stride + i] == 0);
    }
  });
}

TEST("projections are independent normal values, the same for the same seed whatever the number of tables") {
  const LshIndex index(shape_of(64, 10, 150), "scalar", 42, kPlenty);
  const LshIndex fewer(shape_of(64, 10, 20), "scalar", 42, kPlenty);
  const LshIndex other(shape_of(64, 10, 20), "scalar", 43, kPlenty);
  const std::vector<double> w = projections_of(index), few = projections_of(fewer);
  CHECK(std::equal(few.begin(), few.end(), w.begin()));
  CHECK(projections_of(other) != few);
  const double n = double(w.size());
  double sum = 0, square = 0, fourth = 0, neighbours = 0, rows = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    sum += w[i];
    square += w[i] * w[i];
    fourth += w[i] * w[i] * w[i] * w[i];
    neighbours += w[i] * w[(i + 1) % w.size()];
    rows += w[i] * w[(i + 64) % w.size()];
  }
  const double sigma = 4 / std::sqrt(n);
  CHECK_NEAR(sum / n, 0, sigma);
  CHECK_NEAR(square / n, 1, sigma * std::sqrt(2));
  CHECK_NEAR(fourth / n, 3, sigma * std::sqrt(96));
  CHECK_NEAR(neighbours / n, 0, sigma);
  CHECK_NEAR(rows / n, 0, sigma);
}

TEST("centred keys are rows less the mean, and inverse norms theirs, rounded to bf16") {
  each_level([](const char *level) {
    const LshKernels &kernels = *lsh_kernels(level);
    for (int d : {1, 7, 64, 80, 96, 128, 256})
      for (bool f32 : {false, true}) {
        constexpr int kCount = 9;
        const int64_t stride = 2 * d + 3;
        std::vector<float> rows(size_t(kCount) * stride, std::nanf("")), mean = normal_values(d, 5);
        const std::vector<float> values = normal_values(size_t(kCount) * d, 77);
        std::vector<uint16_t> narrow(rows.size(), 0xffff);
        for (int i = 0; i < kCount; ++i)
          for (int j = 0; j < d; ++j) {
            narrow[i * stride + j] = as_bf16(values[size_t(i) * d + j]);
            rows[i * stride + j] = f32 ? values[size_t(i) * d + j] : of_bf16(narrow[i * stride + j]);
          }
        std::vector<float> x(size_t(kCount) * d + 1, 5.0f);
        std::vector<uint16_t> norms(kCount + 1, 0xabcd);
        f32 ? kernels.centre_f32(rows.data(), stride, kCount, d, mean.data(), x.data(), norms.data())
            : kernels.centre_bf16(narrow.data(), stride, kCount, d, mean.data(), x.data(), norms.data());
        for (int i = 0; i < kCount; ++i) {
          double square = 0;
          for (int j = 0; j < d; ++j) {
            CHECK(x[size_t(i) * d + j] == rows[i * stride + j] - mean[j]);
            square += double{x[size_t(i) * d + j]} * x[size_t(i) * d + j];
          }
          CHECK_NEAR(of_bf16(norms[i]) * std::sqrt(square), 1, 1.0 / 256);
        }
        CHECK(x.back() == 5.0f && norms.back() == 0xabcd);
      }
  });
}

TEST("a key next to the mean counts as the mean, a tiny or NaN one as zero") {
  each_level([](const char *level) {
    const LshKernels &kernels = *lsh_kernels(level);
    constexpr int kDim = 24;
    const std::vector<float> mean = normal_values(kDim, 5), zeros(kDim);
    auto centred = [&](const std::vector<float> &mean_, auto change) {
      std::vector<float> row = mean_, x(kDim, 9.0f);
      for (float &value : row) value = change(value);
      uint16_t norm = 0xabcd;
      kernels.centre_f32(row.data(), kDim, 1, kDim, mean_.data(), x.data(), &norm);
      return std::pair<std::vector<float>, uint16_t>(x, norm);
    };
    CHECK(centred(mean, [](float x) { return x; }) == std::pair(zeros, uint16_t{0}));
    CHECK(centred(mean, [](float x) { return x * (1 + 1.0f / 5000); }) == std::pair(zeros, uint16_t{0}));
    CHECK(centred(mean, [](float x) { return x * (1 + 1.0f / 3500); }).second != 0);
    CHECK(centred(zeros, [](float) { return 1e-20f; }) == std::pair(zeros, uint16_t{0}));
    CHECK(centred(zeros, [](float) { return std::nanf(""); }) == std::pair(zeros, uint16_t{0}));
    const auto small = centred(zeros, [](float) { return 1e-17f; });
    CHECK(std::isfinite(of_bf16(small.second)) && of_bf16(small.second) > 0);
  });
}

namespace {

// Whole cache lines, of which the loops read all that ids share with others.
struct alignas(64) Line {
  uint16_t values[32];
};

// Tables of random codes, and heads whose queries have codes of keys.
struct Tables {
  Tables(int bits_, int tables_, int keys_, int used_codes, uint32_t seed, int heads_ = 1)
      : bits(bits_), tables(tables_), keys(keys_), heads(heads_), codes(size_t(tables) * keys) {
    std::mt19937 random(seed);
    const int buckets = 1 << bits;
    starts.resize(size_t(tables) * (buckets + 1));
    for (uint32_t &code : codes) code = random() % std::min(used_codes, buckets);
    const size_t before = seed % 32, count = size_t(tables) * keys;
    lines.assign((before + count + 31) / 32, {});
    ids = lines[0].values + before;
    std::fill_n(lines[0].values, lines.size() * 32, uint16_t{0xffff});
    uint16_t *next = ids;
    for (int table = 0; table < tables; ++table) {
      for (int code = 0; code < buckets; ++code) {
        starts[size_t(table) * (buckets + 1) + code] = uint16_t(next - ids - int64_t{table} * keys);
        for (int i = 0; i < keys; ++i)
          if (codes[size_t(table) * keys + i] == uint32_t(code)) *next++ = uint16_t(i);
      }
      starts[size_t(table) * (buckets + 1) + buckets] = uint16_t(keys);
    }
    queries.resize(heads);
    for (std::vector<uint32_t> &query : queries)
      for (int table = 0; table < tables; ++table)
        query.push_back(codes[size_t(table) * keys + random() % keys]);
  }

  // What each head finds.
  std::vector<std::vector<int>> retrieve(const char *level, int collisions, int from, int until,
                                         int first_key) const {
    const int stride = heads + 1;
    std::vector<uint16_t> own(size_t(tables) * stride, 0xffff);
    for (int i = 0; i < heads; ++i)
      for (int table = 0; table < tables; ++table) own[size_t(table) * stride + i] = queries[i][table];
    std::vector<std::vector<int32_t>> found(heads, std::vector<int32_t>(size_t(until - from) + 1, -77));
    alignas(64) static uint8_t counters[kLshMostKeys];  // zeros, and so they stay
    LshRetrieveTask task{starts.data(), ids,  bits,  tables,    keys,     own.data(), stride, heads,
                         collisions,    from, until, first_key, counters, ids,        100,    {}};
    for (int i = 0; i < heads; ++i) task.found[i].keys = found[i].data();
    lsh_kernels(level)->retrieve(task);
    CHECK(std::count(counters, counters + kLshMostKeys, 0) == kLshMostKeys);
    for (int i = 0; i < heads; ++i) {
      CHECK(task.found[i].count <= until - from && found[i].back() == -77);
      found[i].resize(task.found[i].count);
    }
    return found;
  }

  std::vector<std::vector<int>> expected(int collisions, int from, int until, int first_key) const {
    std::vector<std::vector<int>> found;
    for (const std::vector<uint32_t> &query : queries) {
      found.push_back(reference::lsh_retrieve(codes, keys, query, collisions, from, until));
      for (int &key : found.back()) key += first_key;
    }
    return found;
  }

  int bits, tables, keys, heads;
  std::vector<uint32_t> codes;
  std::vector<std::vector<uint32_t>> queries;
  std::vector<uint16_t> starts;
  std::vector<Line> lines;
  uint16_t *ids;  // in lines, at any place of one
};

}  // namespace

TEST("retrieving finds what counting by hand finds, whatever the sizes, ranges, heads and collisions") {
  each_level([](const char *level) {
    uint32_t seed = 0;
    for (int bits : {1, 3, 7, 15})
      for (int tables : {1, 2, 13, 40, 70})
        for (int keys : {128, 384, 1280}) {
          ++seed;
          const Tables made(bits, tables, keys, 1 << (seed % 6), seed, 1 + int(seed) % kLshMostHeads);
          for (int collisions : {1, 2, 3})
            for (auto [from, until] : {std::pair{0, keys}, {4, keys}, {67, keys - 61}, {127, 128}})
              CHECK(made.retrieve(level, collisions, from, until, 1000) ==
                    made.expected(collisions, from, until, 1000));
        }
  });
}

TEST("buckets of any length count, also those longer than the list that short ones are copied to") {
  each_level([](const char *level) {
    for (int keys : {2048, 2176, 8192})
      for (int used_codes : {1, 2, 5}) {
        const Tables made(3, 7, keys, used_codes, uint32_t(keys + used_codes), 2);
        for (int collisions : {1, 2, 3})
          CHECK(made.retrieve(level, collisions, 0, keys, 0) == made.expected(collisions, 0, keys, 0));
      }
  });
}

TEST("a key in more tables than a counter holds is found, and one in fewer than asked is not") {
  each_level([](const char *level) {
    for (int tables : {251, 252, 253, 256, 257, 258, 512, 1000}) {
      Tables made(4, tables, 256, 1, 9);  // every key shares every code
      for (int collisions : {1, 2, 3}) CHECK(made.retrieve(level, collisions, 0, 256, 0)[0].size() == 256);
      // but the query's differs in all tables but the first, and the last two
      for (int table = 1; table < tables - 2; ++table) made.queries[0][table] = 3;
      for (int collisions : {1, 2, 3}) CHECK(made.retrieve(level, collisions, 0, 256, 0)[0].size() == 256);
      made.queries[0][0] = 3;
      CHECK(made.retrieve(level, 2, 0, 256, 0)[0].size() == 256);
      CHECK(made.retrieve(level, 3, 0, 256, 0)[0].empty());
    }
  });
}
