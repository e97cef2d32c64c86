// SPDX-License-Identifier: Apache-2.0
//
// The one team of threads of an engine. Work is cut into chunks that threads take from a counter, so a
// thread that the system has put aside holds up at most the chunk it is in.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace sounder {

// A borrowed callable void(int chunk, int thread); it must outlive the call it is passed to.
class ChunkBody {
 public:
  template <typename F>
  ChunkBody(F &body)  // NOLINT: implicit on purpose
      : object_(&body),
        call_([](void *object, int chunk, int thread) { (*static_cast<F *>(object))(chunk, thread); }) {}
  void operator()(int chunk, int thread) const { call_(object_, chunk, thread); }

 private:
  void *object_;
  void (*call_)(void *, int, int);
};

class ThreadTeam {
 public:
  // threads ≥ 1, the calling thread included: ThreadTeam(1) starts none.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam &) = delete;
  ThreadTeam &operator=(const ThreadTeam &) = delete;

  int size() const;

  // Runs body(chunk, thread) once for every chunk in [0, chunks), 0 ≤ thread < size(), and returns when
  // all are done. The caller is thread 0. Waits only for threads that took a chunk. Not reentrant.
  // Chunks are taken in ascending order, so that one may wait for what an earlier one does.
  // An exception of a body is kept until all chunks are done and thrown here; of several, one.
  void run(int chunks, const ChunkBody &body);

  // Hints. rest: nothing comes for a while, so that workers sleep at once and leave their cores to others.
  // rouse, from any thread: work comes presently, so that workers wake up meanwhile.
  void rest();
  void rouse();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Divides the chunks of a run so that each thread gets neighbours, in ascending order: what it fetches ahead
// of one chunk is its next. Whoever has done his own takes others' from their end.
class ChunkShares {
 public:
  explicit ChunkShares(int threads);
  // Before a run of so many chunks.
  void divide(int chunks);
  // The chunk that this thread does next. Called once for each chunk.
  int claim(int thread);

 private:
  // Chunks [first, end) that nobody took, as first * 2^32 + end; each on its own cache line.
  struct alignas(64) Share {
    std::atomic<uint64_t> left;
  };
  std::vector<Share> shares_;
};

// Shut until someone opens it: others wait for that, awake for a short while, then asleep.
class Gate {
 public:
  void close() { open_.store(0, std::memory_order_relaxed); }
  void open();
  // Sees all that was done before the gate was opened.
  void wait();

 private:
  std::atomic<uint32_t> open_{0};
};

// Physical cores that this process may use, ≥ 1: affinity mask, cgroup CPU limits and OMP_NUM_THREADS are
// upper bounds.
int usable_cores();

}  // namespace sounder
