// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "processor_time.h"

using sounder::ThreadTeam;

namespace {

// Runs one job and checks that every chunk came exactly once, on a thread of the team.
void run_and_count(ThreadTeam &team, int chunks) {
  std::vector<std::atomic<int>> runs(chunks);
  std::atomic<bool> known_thread{true};
  auto body = [&](int chunk, int thread) {
    ++runs[chunk];
    if (thread < 0 || thread >= team.size()) known_thread = false;
  };
  team.run(chunks, body);
  int wrong = 0;
  for (auto &count : runs) wrong += count.load() != 1;
  CHECK(wrong == 0);
  CHECK(known_thread);
}

// Ties this process, and the children that it forks, to its first two CPUs as long as it lives.
class TwoCpus {
 public:
  TwoCpus() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t two;
    CPU_ZERO(&two);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; ++cpu) {
      if (CPU_ISSET(cpu, &before_)) CPU_SET(cpu, &two);
    }
    sched_setaffinity(0, sizeof two, &two);
  }
  ~TwoCpus() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

// Processes of equal priority that do nothing but burn time.
class BusyNeighbours {
 public:
  explicit BusyNeighbours(int count) {
    for (int i = 0; i < count; ++i) {
      pid_t child = fork();
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);  // never outlives a test that crashed
        for (volatile unsigned turns = 0;;) static_cast<void>(turns);
      }
      children_.push_back(child);
    }
  }
  ~BusyNeighbours() {
    for (pid_t child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> children_;
};

// Regions a second of the shape of decoding: 16 chunks that each stream 12 KiB, with a short serial part
// between.
double regions_per_second(ThreadTeam &team, const std::vector<unsigned> &data, double seconds) {
  constexpr int kChunks = 16, kChunkWords = 3072;
  const size_t slots = data.size() / (kChunks * kChunkWords);
  std::atomic<unsigned> total{0};
  auto start = std::chrono::steady_clock::now();
  for (long regions = 0;; ++regions) {
    const unsigned *from = data.data() + regions % slots * kChunks * kChunkWords;
    auto body = [&](int chunk, int) {
      unsigned sum = 0;
      for (int i = 0; i < kChunkWords; ++i) sum += from[chunk * kChunkWords + i];
      total += sum;
    };
    team.run(kChunks, body);
    std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (passed.count() > seconds) return regions / passed.count();
  }
}

}  // namespace

TEST("every chunk runs exactly once, whatever the numbers of threads and chunks") {
  for (int threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    CHECK(team.size() == threads);
    for (int chunks : {0, 1, 2, 3, 7, 64, 1000}) run_and_count(team, chunks);
  }
}

TEST("many rapid regions see the results of the region before") {
  constexpr int kRegions = 20000, kCells = 16;
  ThreadTeam team(4);
  // Plain integers: regions are ordered by the team or the sums come out wrong.
  std::vector<unsigned> from(kCells, 1), to(kCells);
  std::vector<unsigned> expected_from = from, expected_to = to;
  for (int region = 0; region < kRegions; ++region) {
    auto body = [&](int cell, int) { to[cell] = from[cell] * 3 + from[(cell + 1) % kCells] + region; };
    team.run(kCells, body);
    for (int cell = 0; cell < kCells; ++cell) {
      expected_to[cell] = expected_from[cell] * 3 + expected_from[(cell + 1) % kCells] + region;
    }
    std::swap(from, to);
    std::swap(expected_from, expected_to);
  }
  CHECK(from == expected_from);
}

TEST("regions that come after the threads fell asleep run whole") {
  ThreadTeam team(3);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    run_and_count(team, 50);
  }
}

TEST("a team that rests or was roused for nothing does its next region whole") {
  ThreadTeam team(3);
  for (int i = 0; i < 500; ++i) {
    if (i % 3 != 0) team.rest();
    if (i % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (i % 2 != 0) team.rouse();
    run_and_count(team, 20);
  }
}

// Of three tries the best counts: other programs may take the processors meanwhile.
TEST("threads of a team that rests sleep at once") {
  ThreadTeam team(3);
  double of_watching = 1;
  for (int attempt = 0; attempt < 3 && of_watching > 0.8; ++attempt) {
    double seconds[2]{};
    for (bool rests : {false, true}) {
      const double before = cpu_seconds();
      // It is told within the region: a worker that takes the caller's core as it wakes would watch before.
      auto body = [&](int, int) {
        if (rests) team.rest();
      };
      for (int i = 0; i < 300; ++i) {
        team.run(3, body);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      seconds[rests] = cpu_seconds() - before;
    }
    of_watching = std::min(of_watching, seconds[1] / seconds[0]);
    std::printf("  processor time: %.1f ms watching, %.1f ms resting\n", 1e3 * seconds[0], 1e3 * seconds[1]);
  }
  CHECK(of_watching <= 0.8);
}

TEST("the caller waits for a slow chunk of another thread") {
  ThreadTeam team(2);
  for (int i = 0; i < 10; ++i) {
    std::atomic<int> done{0};
    auto body = [&](int, int thread) {
      std::this_thread::sleep_for(std::chrono::milliseconds(thread == 0 ? 1 : 5));
      ++done;
    };
    team.run(4, body);
    CHECK(done == 4);
  }
}

TEST("an exception of a body is thrown by run after all chunks, and the team goes on") {
  for (int threads : {1, 3}) {
    ThreadTeam team(threads);
    for (int bad : {0, 5, 19}) {
      std::atomic<int> runs{0};
      auto body = [&](int chunk, int) {
        ++runs;
        if (chunk == bad) throw std::runtime_error("chunk " + std::to_string(chunk));
      };
      std::string caught;
      try {
        team.run(20, body);
      } catch (const std::runtime_error &error) {
        caught = error.what();
      }
      CHECK(caught == "chunk " + std::to_string(bad));
      CHECK(runs == 20);
      run_and_count(team, 20);
    }
    auto all_throw = [](int, int) { throw 1; };
    int caught = 0;
    try {
      team.run(20, all_throw);
    } catch (int) {
      ++caught;
    }
    CHECK(caught == 1);
    run_and_count(team, 20);
  }
}

TEST("teams that are made and ended at once leave nothing behind") {
  for (int i = 0; i < 200; ++i) {
    ThreadTeam team(1 + i % 5);
    if (i % 2) run_and_count(team, i % 7);
  }
}

TEST("an idle team takes no processor time") {
  ThreadTeam team(4);
  run_and_count(team, 100);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(cpu_seconds() - before < 0.02);
}

// A team of fixed shares and spinning barriers does 50 to 450 of these regions a second where this one does
// 6,000. It is compared with its own speed alone, and with one thread beside the same neighbours, since a
// test machine may be busy from the start. The best of three tries counts.
TEST("beside two spinning neighbours on two cores at least a quarter of the speed stays") {
  TwoCpus tied;
  ThreadTeam team(2), single(1);
  std::vector<unsigned> data(32 << 20, 1);
  double of_alone = 0, of_single = 0;
  for (int attempt = 0; attempt < 3 && (of_alone < 0.25 || of_single < 0.5); ++attempt) {
    regions_per_second(team, data, 0.1);
    double alone = regions_per_second(team, data, 0.5);
    BusyNeighbours neighbours(2);
    double one = regions_per_second(single, data, 0.5), beside = regions_per_second(team, data, 1.5);
    of_alone = std::max(of_alone, beside / alone);
    of_single = std::max(of_single, beside / one);
    std::printf("  regions/s: %.0f alone, %.0f beside busy neighbours, %.0f there with one thread\n", alone,
                beside, one);
  }
  CHECK(of_alone >= 0.25);
  CHECK(of_single >= 0.5);
}

TEST("usable cores follow the affinity mask and OMP_NUM_THREADS") {
  unsetenv("OMP_NUM_THREADS");
  int all = sounder::usable_cores();
  CHECK(all >= 1);
  CHECK(all <= static_cast<int>(std::thread::hardware_concurrency()));
  setenv("OMP_NUM_THREADS", "1,2", 1);
  CHECK(sounder::usable_cores() == 1);
  for (const char *no_bound : {"4096", "0", "-3", "many", ""}) {
    setenv("OMP_NUM_THREADS", no_bound, 1);
    CHECK(sounder::usable_cores() == all);
  }
  unsetenv("OMP_NUM_THREADS");
  cpu_set_t before, one;
  CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(sounder::usable_cores() == 1);
  CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}
