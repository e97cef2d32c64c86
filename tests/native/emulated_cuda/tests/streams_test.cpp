// SPDX-License-Identifier: Apache-2.0
//
// What makes the emulated GPU a judge: it does work as late as a GPU might, and refuses what one refuses.
#include <cstring>
#include <instructions.cuh>
#include <vector>

#include "check.h"

namespace {

using sounder::cuda::launch;

__global__ void add_kernel(const int *from, int *to) {
  if (threadIdx.x == 0) *to += *from;
}

int *device_int(int value) {
  int *p = nullptr;
  CHECK(cudaMalloc(&p, sizeof value) == cudaSuccess);
  CHECK(cudaMemcpy(p, &value, sizeof value, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  return p;
}
int read(const int *p) {
  int value;
  CHECK(cudaMemcpy(&value, p, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess);
  return value;
}

struct World {
  World() {
    for (cudaStream_t *stream : {&compute, &copies}) cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaHostAlloc(reinterpret_cast<void **>(&pinned), sizeof *pinned, cudaHostAllocDefault);
  }
  ~World() {
    for (cudaStream_t stream : {compute, copies}) cudaStreamDestroy(stream);
    cudaEventDestroy(event);
    cudaFree(one);
    cudaFree(sum);
    cudaFreeHost(pinned);
  }
  void add() { launch({compute}, add_kernel, 1, 32, 0, one, sum); }

  cudaStream_t compute, copies;
  cudaEvent_t event;
  int *one = device_int(1), *sum = device_int(10), *pinned = nullptr;
};

}  // namespace

TEST("work waits until somebody waits for its stream, and no other stream comes along") {
  World world;
  world.add();
  CHECK(read(world.sum) == 10);
  CHECK(cudaStreamSynchronize(world.copies) == cudaSuccess && read(world.sum) == 10);
  CHECK(cudaStreamSynchronize(world.compute) == cudaSuccess && read(world.sum) == 11);
}

TEST("a stream that waits for an event brings what lies before it, and no more") {
  World world;
  world.add();
  cudaEventRecord(world.event, world.compute);
  world.add();
  cudaStreamWaitEvent(world.copies, world.event);
  cudaMemcpyAsync(world.pinned, world.sum, sizeof(int), cudaMemcpyDeviceToHost, world.copies);
  CHECK(cudaStreamSynchronize(world.copies) == cudaSuccess);
  CHECK(*world.pinned == 11 && read(world.sum) == 11);
}

TEST("pinned memory is read when its copy runs, other memory before the call returns") {
  World world;
  *world.pinned = 5;
  cudaMemcpyAsync(world.sum, world.pinned, sizeof(int), cudaMemcpyHostToDevice, world.compute);
  *world.pinned = 6;
  cudaStreamSynchronize(world.compute);
  CHECK(read(world.sum) == 6);
  int local = 7;
  cudaMemcpyAsync(world.sum, &local, sizeof local, cudaMemcpyHostToDevice, world.compute);
  local = 8;
  cudaStreamSynchronize(world.compute);
  CHECK(read(world.sum) == 7);
}

TEST("a copy at once from memory that is not pinned may still be on its way when other streams go on") {
  World world;
  int local = 5;
  CHECK(cudaMemcpy(world.one, &local, sizeof local, cudaMemcpyHostToDevice) == cudaSuccess);
  local = 6;
  world.add();
  CHECK(cudaStreamSynchronize(world.compute) == cudaSuccess && read(world.sum) == 11);
  world.add();
  CHECK(cudaStreamSynchronize(world.compute) == cudaSuccess && read(world.sum) == 16);
}

TEST("what is recorded is done at each launch, by all streams that were drawn in") {
  World world;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t made = nullptr;
  CHECK(cudaStreamBeginCapture(world.compute, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  world.add();
  cudaEventRecord(world.event, world.compute);
  cudaStreamWaitEvent(world.copies, world.event);
  cudaMemcpyAsync(world.one, world.sum, sizeof(int), cudaMemcpyDeviceToDevice, world.copies);
  // Nothing waits, allocates or copies at once while this thread records.
  void *p = nullptr;
  CHECK(cudaStreamSynchronize(world.compute) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMalloc(&p, 16) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMemcpy(world.pinned, world.one, 4, cudaMemcpyDeviceToHost) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(world.compute, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&made, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  CHECK(read(world.sum) == 10);
  for (int i = 0; i < 2; ++i) CHECK(cudaGraphLaunch(made, world.compute) == cudaSuccess);
  cudaStreamSynchronize(world.compute);
  CHECK(read(world.sum) == 22 && read(world.one) == 22);  // 10 + 1, then 11 + 11
  cudaGraphExecDestroy(made);
}

TEST("copies beyond an allocation, and from memory of another kind than is said, are refused") {
  World world;
  int local[2] = {};
  CHECK(cudaMemcpy(world.sum, local, 8, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(local, world.sum, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(world.pinned, world.sum, 4, cudaMemcpyDeviceToDevice, world.compute) ==
        cudaErrorInvalidValue);
  void *p = nullptr;
  CHECK(cudaHostGetDevicePointer(&p, local, 0) == cudaErrorInvalidValue);
  CHECK(cudaMalloc(&p, size_t{1} << 50) == cudaErrorMemoryAllocation);
}
