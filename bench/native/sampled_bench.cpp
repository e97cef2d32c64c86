// SPDX-License-Identifier: Apache-2.0
//
// One layer's attention of one query token over a long context: dense, and sampled by MagicPIG's tables and
// by sketches, whole and stage by stage, beside the bare reading of the same bytes. Caches are flushed before
// each timed call, and rounds go through all cases, so that ratios are from one run. Prints
//   figure NAME VALUE UNIT     what does not change from round to round
//   time NAME MILLISECONDS     once a round for each case
//   round                      after each; with --paced the next one begins when a line is read
//
//   sampled_bench LENGTH [--threads N] [--rounds N] [--paced] [--only PART, of methods' names]
#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <string>

#include "attention/attention.h"
#include "common.h"
#include "sampled_method.h"
#include "sampled_stages.h"

using namespace sounder;
using namespace bench;

namespace {

constexpr int kQueries = 4, kSeeds = 2;
constexpr int64_t kFlushBytes = int64_t{640} << 20;

struct Options {
  int length = 98304, threads = usable_cores(), rounds = 9;
  bool is_paced = false;
  std::string only;
};

class Bench {
 public:
  Bench(const Options &options, const Kernels &level)
      : options_(options),
        team_(options.threads),
        level_(level),
        data_(team_, {options.length, 8, 4, 128, kQueries}),
        dense_(team_, level, {32, 8, 128, 0, false}, 1, 1, options.length),
        flushed_(kFlushBytes),
        output_(32 * 128) {
    std::memset(flushed_.data, 1, static_cast<size_t>(flushed_.bytes));
    for (int query = 0; query < kQueries; ++query) {
      exact_.emplace_back(output_.size());
      attend_all(query, exact_.back().data());
    }
    const MethodShape shapes[] = {{"lsh_10x150", SOUNDER_ATTENTION_LSH, 0, 10, 150},
                                  {"lsh_9x120", SOUNDER_ATTENTION_LSH, 0, 9, 120},
                                  {"lsh_8x75", SOUNDER_ATTENTION_LSH, 0, 8, 75},
                                  {"sketch_2bit", SOUNDER_ATTENTION_SKETCH, 2, 0, 0},
                                  {"sketch_1bit", SOUNDER_ATTENTION_SKETCH, 1, 0, 0}};
    for (const MethodShape &shape : shapes)
      if (shape.name.find(options.only) != std::string::npos)
        methods_.push_back(std::make_unique<Method>(team_, level, data_, shape));
  }

  void run() {
    figure("threads", team_.size(), "threads");
    figure("length", options_.length, "keys");
    figure("kv", double(data_.bytes()), "bytes");
    const double yardstick = methods_.empty() ? 0.0 : error_of(*methods_[0]);
    for (auto &method : methods_) {
      if (method->is_sketch()) find_budget(*method, yardstick);
      report(*method);
      stages_.push_back(std::make_unique<Stages>(*method));
    }
    for (int round = 0; round < options_.rounds; ++round) {
      run_round(round);
      std::printf("round\n");
      std::fflush(stdout);
      std::string line;
      if (options_.is_paced && !std::getline(std::cin, line)) return;
    }
  }

 private:
  void figure(const std::string &name, double value, const char *unit) const {
    std::printf("figure %s %.6g %s\n", name.c_str(), value, unit);
  }

  void attend_all(int query, float *output) {
    const AttentionJob job{data_.q(query),      32 * 128,      output, 32 * 128, 1,
                           options_.length - 1, data_.blocks()};
    dense_.run(data_.slab(), &job, 1);
  }

  // |output - exact| / |exact|, mean over heads, queries and, where draws depend on one, seeds.
  double error_of(Method &method) {
    double sum = 0;
    int count = 0;
    for (int seed = 0; seed < (method.is_sketch() ? kSeeds : 1); ++seed) {
      method.set_seed(static_cast<uint64_t>(seed));
      for (int query = 0; query < kQueries; ++query) {
        method.run(query, output_.data());
        for (int head = 0; head < 32; ++head, ++count) {
          double difference = 0, norm = 0;
          for (int i = head * 128; i < (head + 1) * 128; ++i) {
            const double exact = exact_[static_cast<size_t>(query)][static_cast<size_t>(i)];
            difference += std::pow(output_[static_cast<size_t>(i)] - exact, 2);
            norm += exact * exact;
          }
          sum += std::sqrt(difference / norm);
        }
      }
    }
    return sum / count;
  }

  // The budget at which the error is the yardstick's; the least one there is when that is better already.
  void find_budget(Method &method, double yardstick) {
    double low = double{256} / options_.length, high = 0.5;
    for (int step = 0; step < 12; ++step) {
      const double middle = std::sqrt(low * high);
      method.set_budget(static_cast<float>(middle));
      (error_of(method) > yardstick ? low : high) = middle;
    }
    method.set_budget(static_cast<float>(high));
  }

  void report(Method &method) {
    figure(method.name() + ".error", error_of(method), "of_the_output");
    figure(method.name() + ".index", double(method.index_bytes()), "bytes");
    double keys = 0, rows = 0;
    for (int query = 0; query < kQueries; ++query) {
      method.run(query, output_.data());
      keys += method.statistics().chosen_keys / method.statistics().offloaded / kQueries;
      rows += method.statistics().chosen_rows / method.statistics().offloaded / kQueries;
    }
    figure(method.name() + ".keys", 100 * keys, "%_a_head");
    figure(method.name() + ".rows", 100 * rows, "%_a_kv_head");
    if (method.is_sketch()) figure(method.name() + ".budget", 100 * method.budget(), "%");
  }

  void time(const std::string &name, const std::function<void()> &body) {
    read_stream(team_, flushed_.data, flushed_.bytes);
    const double start = seconds();
    body();
    std::printf("time %s %.4f\n", name.c_str(), (seconds() - start) * 1e3);
  }

  void run_round(int round) {
    const int query = round % kQueries;
    time("stream", [&] { read_stream(team_, data_.slab(), data_.bytes()); });
    time("dense", [&] { attend_all(query, output_.data()); });
    for (size_t i = 0; i < methods_.size(); ++i) {
      // Another one first each time, so that none always follows the same.
      const size_t at = (i + static_cast<size_t>(round)) % methods_.size();
      Method &method = *methods_[at];
      Stages &stages = *stages_[at];
      time(method.name() + ".total", [&] { method.run(query, output_.data()); });
      stages.aim(query);
      time(method.name() + ".select", [&] { stages.select(); });
      time(method.name() + ".gather", [&] { stages.gather(); });
      time(method.name() + ".bare", [&] { stages.touch(); });
      if (method.is_sketch()) time(method.name() + ".scan", [&] { stages.scan(); });
      if (round == 0) figure(method.name() + ".gathered", double(stages.rows()) * 512, "bytes");
    }
  }

  Options options_;
  ThreadTeam team_;
  const Kernels &level_;
  Data data_;
  Attention dense_;
  Slab flushed_;
  std::vector<float> output_;
  std::vector<std::vector<float>> exact_;
  std::vector<std::unique_ptr<Method>> methods_;
  std::vector<std::unique_ptr<Stages>> stages_;
};

bool parse(int argc, char **argv, Options &options) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--paced") {
      options.is_paced = true;
      continue;
    }
    const bool has_name = word == "--threads" || word == "--rounds" || word == "--only";
    if (has_name && i + 1 == argc) return false;
    if (word == "--only") {
      options.only = argv[++i];
      continue;
    }
    const int value = std::atoi(argv[has_name ? ++i : i]);
    if (value < 1) return false;
    (word == "--threads" ? options.threads : word == "--rounds" ? options.rounds : options.length) = value;
  }
  options.length = options.length / kBlockTokens * kBlockTokens;
  return options.length >= 4096 && options.length <= 1 << 20;
}

}  // namespace

int main(int argc, char **argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: sampled_bench [LENGTH, 4096 to 1048576] [--threads N] [--rounds N] [--paced] "
                 "[--only PART]\n");
    return 2;
  }
  const char *problem = nullptr;
  const Kernels *level = choose_level(&problem);
  if (level == nullptr) {
    std::fprintf(stderr, "%s\n", problem);
    return 2;
  }
  std::printf("level %s\n", level->name);
  try {
    Bench(options, *level).run();
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
