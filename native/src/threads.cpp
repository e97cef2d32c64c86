// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sounder {
namespace {

// How long a thread watches for work, or for the end of others' work, before it sleeps. The gaps between
// the parallel parts of a decode step (norms, RoPE, appending KV) take 1 to 20 µs, waking a sleeper 5 to 50.
// A thread that spins takes its core from others, and a spin that outlasts a scheduler's slice (milliseconds)
// is what made engines with spinning barriers 300 times slower beside busy neighbours.
constexpr std::chrono::microseconds kSpin{40};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

// Returns whether ready() came true before the spinning time was over.
template <typename F>
bool spin_until(F ready) {
  if (ready()) return true;
  auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void futex_wait(std::atomic<uint32_t> &word, uint32_t expected) {
  static_assert(sizeof word == sizeof expected && std::atomic<uint32_t>::is_always_lock_free);
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t> &word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

}  // namespace

// A job is published by storing its number of chunks in `untaken`, after its other fields. Whoever lowers
// `untaken` by one owns a chunk, and the job cannot end, nor its fields change, before that chunk is done:
// so a thread that comes late finds either nothing or a chunk of the job that runs now.
struct ThreadTeam::State {
  // Each on its own cache line: threads that spin on one must not slow writers of the others.
  alignas(64) std::atomic<int> untaken{0};
  alignas(64) std::atomic<uint32_t> undone{0};  // the caller sleeps on it
  alignas(64) std::atomic<uint32_t> jobs{0};    // workers sleep on it
  std::atomic<bool> resting{false};             // workers need not watch it awake
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};

  alignas(64) const ChunkBody *body = nullptr;
  int chunks = 0;
  std::atomic<bool> failed{false};
  std::exception_ptr failure;

  std::vector<std::thread> workers;

  void run_one(int chunk, int thread) {
    try {
      (*body)(chunk, thread);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }

  // Takes chunks and runs them until none is left.
  void take_all(int thread) {
    int left = untaken.load(std::memory_order_acquire);
    while (left > 0) {
      if (!untaken.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
      run_one(chunks - left, thread);
      // seq_cst against caller_sleeps: either this sees the caller asleep or the caller sees 0.
      if (undone.fetch_sub(1) == 1 && caller_sleeps.load()) futex_wake(undone, 1);
      left = untaken.load(std::memory_order_acquire);
    }
  }

  void work(int thread) {
    uint32_t seen = 0;
    while (true) {
      spin_until([&] {
        return jobs.load(std::memory_order_relaxed) != seen || resting.load(std::memory_order_relaxed);
      });
      if (jobs.load(std::memory_order_relaxed) == seen) {
        // seq_cst against jobs: either the publisher sees a sleeper or the sleeper sees the new job.
        sleepers.fetch_add(1);
        if (jobs.load() == seen) futex_wait(jobs, seen);
        sleepers.fetch_sub(1);
      }
      seen = jobs.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      take_all(thread);
    }
  }

  void wait_for_others() {
    if (spin_until([&] { return undone.load(std::memory_order_acquire) == 0; })) return;
    caller_sleeps.store(true);
    for (uint32_t left = undone.load(); left != 0; left = undone.load()) futex_wait(undone, left);
    caller_sleeps.store(false);
  }

  void publish(int count) {
    undone.store(static_cast<uint32_t>(count), std::memory_order_relaxed);
    untaken.store(count, std::memory_order_release);
    if (resting.load(std::memory_order_relaxed)) resting.store(false, std::memory_order_relaxed);
    jobs.fetch_add(1);
    if (sleepers.load() > 0) futex_wake(jobs, count - 1);
  }

  void end() {
    stop.store(true, std::memory_order_release);
    jobs.fetch_add(1);
    futex_wake(jobs, static_cast<int>(workers.size()));
    for (std::thread &worker : workers) worker.join();
  }
};

ThreadTeam::ThreadTeam(int threads) : state_(std::make_unique<State>()) {
  try {
    for (int i = 1; i < threads; ++i)
      state_->workers.emplace_back([state = state_.get(), i] { state->work(i); });
  } catch (...) {  // the system refused a thread: those that run must end before the error goes on
    state_->end();
    throw;
  }
}

ThreadTeam::~ThreadTeam() { state_->end(); }

int ThreadTeam::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadTeam::run(int chunks, const ChunkBody &body) {
  if (chunks <= 0) return;
  State &state = *state_;
  state.body = &body;
  state.chunks = chunks;
  if (chunks == 1 || state.workers.empty()) {
    for (int chunk = 0; chunk < chunks; ++chunk) state.run_one(chunk, 0);
  } else {
    state.publish(chunks);
    state.take_all(0);
    state.wait_for_others();
  }
  if (state.failed.load()) {
    std::exception_ptr failure = std::move(state.failure);
    state.failure = nullptr;
    state.failed.store(false);
    std::rethrow_exception(failure);
  }
}

void ThreadTeam::rest() { state_->resting.store(true, std::memory_order_relaxed); }

void ThreadTeam::rouse() {
  state_->resting.store(false, std::memory_order_relaxed);
  if (state_->sleepers.load() > 0) futex_wake(state_->jobs, static_cast<int>(state_->workers.size()));
}

ChunkShares::ChunkShares(int threads) : shares_(static_cast<size_t>(threads)) {}

void ChunkShares::divide(int chunks) {
  const int64_t threads = static_cast<int64_t>(shares_.size());
  for (int64_t t = 0; t < threads; ++t) {
    const uint64_t first = chunks * t / threads, end = chunks * (t + 1) / threads;
    shares_[t].left.store(first << 32 | end, std::memory_order_relaxed);
  }
}

int ChunkShares::claim(int thread) {
  for (size_t other = 0;; ++other) {
    std::atomic<uint64_t> &share = shares_[(thread + other) % shares_.size()].left;
    uint64_t left = share.load(std::memory_order_relaxed);
    while (left >> 32 < static_cast<uint32_t>(left)) {
      const uint64_t after = other == 0 ? left + (uint64_t{1} << 32) : left - 1;
      if (!share.compare_exchange_weak(left, after, std::memory_order_relaxed)) continue;
      return static_cast<int>(other == 0 ? left >> 32 : static_cast<uint32_t>(after));
    }
  }
}

void Gate::open() {
  open_.store(1, std::memory_order_release);
  open_.notify_all();
}

void Gate::wait() {
  if (!spin_until([&] { return open_.load(std::memory_order_acquire) != 0; }))
    open_.wait(0, std::memory_order_acquire);
}

}  // namespace sounder
