// SPDX-License-Identifier: Apache-2.0
#include "streams.h"

#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "failures.h"

using emulated::Work;

namespace {

// A place in a stream that others wait for.
struct Mark {
  CUstream_st *stream;
  bool reached = false;
  struct CUgraph_st *graph = nullptr;  // in whose recording it lies
};
using MarkPointer = std::shared_ptr<Mark>;

// Work to do, a mark that is reached here, or one that is waited for.
struct Task {
  Work work;
  MarkPointer reached, awaited;
};

}  // namespace

struct CUgraph_st {
  std::thread::id thread;
  std::vector<Work> works;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Work>> works;
  bool was_launched = false;
};
struct CUstream_st {
  std::deque<Task> tasks;
  CUgraph_st *recording = nullptr;
  bool is_early = false;
};
struct CUevent_st {
  MarkPointer mark;
};

namespace {

std::recursive_mutex mutex;  // of all that follows, and of the fibers
CUstream_st nameless;
std::set<CUstream_st *> streams = {&nameless};
std::set<CUgraph_st *> recordings;

using Lock = std::lock_guard<std::recursive_mutex>;

CUstream_st &stream_of(cudaStream_t stream) { return stream == nullptr ? nameless : *stream; }

void finish(CUstream_st &stream, size_t left);

// Until a mark is reached, and nothing beyond it.
void reach(const MarkPointer &mark) {
  while (!mark->reached) finish(*mark->stream, mark->stream->tasks.size() - 1);
}

void do_first(CUstream_st &stream) {
  Task task = std::move(stream.tasks.front());
  stream.tasks.pop_front();
  if (task.awaited != nullptr) reach(task.awaited);
  if (task.work) task.work();
  if (task.reached != nullptr) task.reached->reached = true;
}

// Until at most `left` tasks are left.
void finish(CUstream_st &stream, size_t left) {
  while (stream.tasks.size() > left) do_first(stream);
}

bool may_go_on(const CUstream_st &stream) {
  if (stream.tasks.empty()) return false;
  const MarkPointer &awaited = stream.tasks.front().awaited;
  return awaited == nullptr || awaited->reached;
}

std::mt19937 *random_order() {
  static const std::unique_ptr<std::mt19937> random = [] {
    const char *seed = std::getenv("SOUNDER_EMULATED_ORDER");
    return seed == nullptr ? nullptr : std::make_unique<std::mt19937>(std::strtoul(seed, nullptr, 10));
  }();
  return random.get();
}

// Streams whose turn it is to be early do what they may.
void advance_early() {
  std::mt19937 *random = random_order();
  if (random == nullptr) return;
  for (CUstream_st *stream : streams)
    if ((*random)() % 16 == 0) stream->is_early = !stream->is_early;
  for (bool moved = true; moved;) {
    moved = false;
    for (CUstream_st *stream : streams)
      for (; stream->is_early && may_go_on(*stream); moved = true) do_first(*stream);
  }
}

void add(CUstream_st &stream, Task task) {
  stream.tasks.push_back(std::move(task));
  advance_early();
}

}  // namespace

namespace emulated {

namespace {
cudaError_t state() { return is_lost() ? cudaErrorIllegalAddress : cudaSuccess; }
}  // namespace

cudaError_t queue_work(cudaStream_t handle, Work work) {
  const Lock lock(mutex);
  CUstream_st &stream = stream_of(handle);
  if (is_lost()) return state();
  if (stream.recording != nullptr)
    stream.recording->works.push_back(std::move(work));
  else
    add(stream, {std::move(work), nullptr, nullptr});
  return cudaSuccess;
}

cudaError_t launch_work(cudaStream_t stream, dim3 grid, int threads, size_t shared_bytes, Work work) {
  constexpr size_t kMostShared = 163 << 10;  // of compute capability 8.0
  const bool is_valid = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffff && grid.y <= 65535 &&
                        grid.z <= 65535 && threads > 0 && threads <= 1024 && shared_bytes <= kMostShared;
  if (!is_valid) return cudaErrorInvalidConfiguration;
  return queue_work(stream, [work = std::move(work)] {
    count_kernel();
    if (!is_lost()) work();
  });
}

cudaError_t finish_stream(cudaStream_t handle) {
  const Lock lock(mutex);
  CUstream_st &stream = stream_of(handle);
  if (stream.recording != nullptr) return cudaErrorStreamCaptureUnsupported;
  finish(stream, 0);
  return state();
}

cudaError_t finish_all() {
  const Lock lock(mutex);
  if (is_recording()) return cudaErrorStreamCaptureUnsupported;
  for (CUstream_st *stream : streams) finish(*stream, 0);
  return state();
}

bool is_recording() {
  const Lock lock(mutex);
  for (const CUgraph_st *graph : recordings)
    if (graph->thread == std::this_thread::get_id()) return true;
  return false;
}

bool is_recorded(cudaStream_t stream) {
  const Lock lock(mutex);
  return stream_of(stream).recording != nullptr;
}

}  // namespace emulated

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  const Lock lock(mutex);
  *stream = new CUstream_st;
  streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(mutex);
  finish(*stream, 0);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return emulated::finish_stream(stream); }

// Whoever asks again and again sees it advance.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  const Lock lock(mutex);
  CUstream_st &stream = stream_of(handle);
  if (stream.tasks.empty()) return cudaSuccess;
  do_first(stream);
  return cudaErrorNotReady;
}

// A stream that waits for a recorded one is recorded with it.
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Lock lock(mutex);
  CUstream_st &stream = stream_of(handle);
  if (event->mark == nullptr) return cudaSuccess;
  if (event->mark->graph != nullptr) {
    if (recordings.count(event->mark->graph) == 0) return cudaErrorStreamCaptureUnsupported;
    stream.recording = event->mark->graph;
  }
  if (stream.recording == nullptr) add(stream, {nullptr, nullptr, event->mark});
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  return emulated::queue_work(stream, [=] { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Lock lock(mutex);
  CUstream_st &stream = stream_of(handle);
  event->mark = std::make_shared<Mark>(Mark{&stream, false, stream.recording});
  if (stream.recording == nullptr) add(stream, {nullptr, event->mark, nullptr});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(mutex);
  if (event->mark == nullptr) return cudaSuccess;
  if (event->mark->graph != nullptr) return cudaErrorStreamCaptureUnsupported;
  reach(event->mark);
  return emulated::is_lost() ? cudaErrorIllegalAddress : cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(mutex);
  if (event->mark == nullptr || event->mark->reached) return cudaSuccess;
  do_first(*event->mark->stream);
  return cudaErrorNotReady;
}

// An emulated kernel takes no time that means anything.
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end) {
  const Lock lock(mutex);
  for (cudaEvent_t event : {begin, end})
    if (event->mark == nullptr || !event->mark->reached) return cudaErrorNotReady;
  *ms = 1;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(mutex);
  stream->recording = new CUgraph_st{std::this_thread::get_id(), {}};
  recordings.insert(stream->recording);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  const Lock lock(mutex);
  *graph = stream->recording;
  recordings.erase(*graph);
  for (CUstream_st *other : streams)
    if (other->recording == *graph) other->recording = nullptr;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long) {
  if (emulated::refuses_memory()) return cudaErrorMemoryAllocation;
  *made = new CUgraphExec_st{std::make_shared<std::vector<Work>>(graph->works)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  if (!graph->was_launched && emulated::refuses_memory()) return cudaErrorMemoryAllocation;
  graph->was_launched = true;
  return emulated::queue_work(stream, [works = graph->works] {
    for (const Work &work : *works) work();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}
