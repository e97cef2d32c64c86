// SPDX-License-Identifier: Apache-2.0
//
// Streams of the emulated device. Work is queued, and done when somebody waits for it: as late as the order
// of streams and events allows, so that a wait that is missing shows in what is computed. A GPU shows it only
// sometimes. SOUNDER_EMULATED_ORDER=N, a number, is another order that a GPU might take: each stream is, by
// turns of random length, as early or as late as it may be; N is the seed.
#pragma once

#include <functional>

#include "cuda_runtime_api.h"
#include "fibers.h"

namespace emulated {

using Work = std::function<void()>;

// Queues a kernel, unless no GPU would run it.
cudaError_t launch_work(cudaStream_t stream, dim3 grid, int threads, size_t shared_bytes, Work work);
// Queues any other work.
cudaError_t queue_work(cudaStream_t stream, Work work);
// Does all that is queued for a stream, and what it waits for. nullptr: the stream without a name.
cudaError_t finish_stream(cudaStream_t stream);
// The same for all of them.
cudaError_t finish_all();
// Whether this thread records: then it must not wait, allocate or copy at once.
bool is_recording();
bool is_recorded(cudaStream_t stream);

}  // namespace emulated
